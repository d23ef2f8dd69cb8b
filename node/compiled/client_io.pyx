# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True
"""Receiving, running and sending, for the clients of one pass without a raised gate.

The twins are the loops of `DataPlane.run_pass` and `DataPlane.flush` with `Input.read` and `Output.send`, to which every
client goes that is not plain: one that is not authenticated, is blocked, has commands waiting or a half of one, has
replies that its socket did not take, is a replica, sends something that the fast path of parsing refuses, or whose
socket has anything else to say than that there is something to read.

All sockets are non-blocking, and what they take or give is copied at once, so the interpreter's lock is kept.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_Size
from cpython.list cimport PyList_GET_ITEM, PyList_GET_SIZE
from cpython.object cimport PyObject
from libc.string cimport memcpy

from slotmesh.node.compiled.codec cimport parse
from slotmesh.node.compiled.fast_path cimport FastPath
from slotmesh.node.compiled.slot_access cimport get, get_int, holds, nanos_now, set, slot


cdef extern from "<sys/socket.h>" nogil:
    Py_ssize_t c_recv "recv"(int fd, void* buffer, size_t size, int flags)
    Py_ssize_t c_send "send"(int fd, const void* data, size_t size, int flags)
    int MSG_NOSIGNAL


cdef enum:
    READ_SIZE = 65536
    SEND_SIZE = 16384  # more than this counts against the output limit of the client: for Python
    EPOLLIN = 1

cdef char _received[READ_SIZE]
cdef char _to_send[SEND_SIZE]


cdef class ClientIO:
    """What a pass does for plain clients; `DataPlane` does the rest."""

    cdef object state, plane, input
    cdef FastPath path
    cdef dict ready
    cdef Py_ssize_t all_received, reads, ran  # what the statistics have not been told yet
    cdef Py_ssize_t fd, sock, out, parser, authenticated, blocked, commands, close_after_reply, close_at_once, unsent
    cdef Py_ssize_t replica, pending, input_bytes, output_bytes, commands_run, last_used_ms

    def __init__(self, state, blocking, client, FastPath path not None, plane, input):
        self.state = state
        self.plane = plane
        self.input = input
        self.path = path
        self.ready = blocking.ready
        self.fd = slot(client, "fd")
        self.sock = slot(client, "sock")
        self.out = slot(client, "out")
        self.parser = slot(client, "parser")
        self.authenticated = slot(client, "authenticated")
        self.blocked = slot(client, "blocked")
        self.commands = slot(client, "commands")
        self.close_after_reply = slot(client, "close_after_reply")
        self.close_at_once = slot(client, "close_at_once")
        self.unsent = slot(client, "unsent")
        self.replica = slot(client, "replica")
        self.pending = slot(client, "pending")
        self.input_bytes = slot(client, "input_bytes")
        self.output_bytes = slot(client, "output_bytes")
        self.commands_run = slot(client, "commands_run")
        self.last_used_ms = slot(client, "last_used_ms")

    def receive(self, list events not None, dict clients not None, long long turn_ns, long long share_ns):
        """Read from the plain clients and run what they sent, each for its turn, until the share of all is used up (the
        others are `postponed`); the events that are left to Python.
        """
        cdef list left = []
        cdef object event, client
        cdef object plane = self.plane
        cdef object stats = self.state.stats
        cdef object now_ms = self.state.clock.now_ms
        cdef PyObject* found
        cdef Py_ssize_t received
        cdef long long now_ns = nanos_now()
        cdef long long end_ns = now_ns + share_ns
        cdef bint served = False
        for event in events:
            found = PyDict_GetItem(clients, (<tuple>event)[0])
            if found == NULL or <int>(<tuple>event)[1] != EPOLLIN or plane.stopping:
                left.append(event)
                continue
            client = <object>found
            if not (
                holds(client, self.parser, None)
                and holds(client, self.authenticated, True)
                and holds(client, self.close_after_reply, False)
                and holds(client, self.blocked, None)
                and not PyList_GET_SIZE(get(client, self.commands))
            ):
                left.append(event)
                continue
            if now_ns >= end_ns and served:
                plane.postponed.append(event)
                continue
            served = True
            received = c_recv(<int>(<tuple>event)[0], _received, READ_SIZE, 0)
            if received <= 0:
                left.append(event)  # Python sees the same, and knows what it means
                continue
            try:
                now_ns = self._take(client, received, now_ms, now_ns + turn_ns)
            except Exception:  # a bug of ours costs the connection that met it, not the process
                plane.fault(client)
        stats.input_bytes += self.all_received
        stats.reads += self.reads
        stats.commands += self.ran
        self.all_received = self.reads = self.ran = 0
        return left

    cdef long long _take(self, object client, Py_ssize_t received, object now_ms, long long until_ns) except -1:
        """Run what a client sent; what time it is then."""
        cdef list commands = []
        cdef Py_ssize_t position
        cdef bint rest_is_plain
        if parse(_received, _received + received, commands, &rest_is_plain) < received:
            self.input.take_chunk(client, PyBytes_FromStringAndSize(_received, received))
            return nanos_now()
        self.all_received += received
        self.reads += 1
        set(client, self.input_bytes, get_int(client, self.input_bytes) + received)
        set(client, self.last_used_ms, now_ms)
        position = self.path.run_commands(client, commands, 0, until_ns)
        if (
            position != PyList_GET_SIZE(commands)
            or PyDict_Size(self.ready)
            or not holds(client, self.close_at_once, False)
            or holds(client, self.sock, None)
        ):
            self.input.run_from(client, commands, position, until_ns)
            return nanos_now()
        self.ran += position
        set(client, self.commands_run, get_int(client, self.commands_run) + position)
        if holds(client, self.pending, False) and PyList_GET_SIZE(get(client, self.out)):
            set(client, self.pending, True)
            self.plane.touched.append(client)
        return self.path.ended_ns

    def send(self, list touched not None):
        """Send the replies of the plain clients, each in one go; the clients that are left to Python."""
        cdef list left = []
        cdef object client, stats
        cdef list out
        cdef Py_ssize_t sent, size, all_sent = 0, writes = 0
        for client in touched:
            if (
                not holds(client, self.unsent, None)
                or not holds(client, self.replica, None)
                or not holds(client, self.close_after_reply, False)
                or holds(client, self.sock, None)
            ):
                left.append(client)
                continue
            out = <list>get(client, self.out)
            size = self._gather(out)
            if size <= 0:
                left.append(client)
                continue
            sent = c_send(<int>get_int(client, self.fd), _to_send, size, MSG_NOSIGNAL)
            if sent > 0:
                writes += 1
                all_sent += sent
                set(client, self.output_bytes, get_int(client, self.output_bytes) + sent)
                out.clear()
            if sent == size:
                set(client, self.pending, False)
                continue
            if sent > 0:
                out.append(PyBytes_FromStringAndSize(_to_send + sent, size - sent))
            left.append(client)
        stats = self.state.stats
        stats.output_bytes += all_sent
        stats.writes += writes
        return left

    cdef Py_ssize_t _gather(self, list out) noexcept:
        """Copy replies to the buffer; their size, or -1 when it is not for here."""
        cdef Py_ssize_t size = 0, length, position
        cdef PyObject* piece
        for position in range(PyList_GET_SIZE(out)):
            piece = <PyObject*>PyList_GET_ITEM(out, position)
            if not PyBytes_CheckExact(<object>piece):
                return -1
            length = PyBytes_GET_SIZE(<object>piece)
            if size + length > SEND_SIZE:
                return -1
            memcpy(_to_send + size, PyBytes_AS_STRING(<object>piece), length)
            size += length
        return size
