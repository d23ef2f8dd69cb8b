# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True
"""The loop over commands that need no closer look: the twin of `node/serving/fast_path.py`, which says what it means."""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_Size
from cpython.list cimport PyList_Append, PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE
from cpython.long cimport PyLong_AsLongLong, PyLong_CheckExact, PyLong_FromLongLong
from cpython.object cimport PyObject, PyObject_TypeCheck, PyTypeObject

from slotmesh.node.compiled.codec cimport bulk, cluster_slot, command, database_part, encode_array, integer
from slotmesh.node.compiled.slot_access cimport get, get_int, holds, nanos_now, set, slot


cdef class FastPath:
    """The twin of `slotmesh.node.serving.fast_path.PlainFastPath`."""

    def __init__(self, state, blocking, stream, reports, kinds, finish):
        self.state = state
        self.reports = reports
        self.keyspace = state.keyspace
        self.clustered = state.keyspace.clustered
        self.stream = stream
        self.propagation = state.propagation
        self.feeds = state.propagation.feeds
        self.ready = blocking.ready
        self.finish = finish
        self.lookup = kinds.lookup
        self.client_class = kinds.client
        self.command_error = kinds.error
        self.error_reply = kinds.error_reply
        self.ok = kinds.ok
        self.block = kinds.block
        self.latency_shift = kinds.latency_shift
        self.gates_are_open = kinds.gates_are_open
        self.readonly_gate = kinds.readonly_gate
        self.gates_of_readers = kinds.gates_of_readers
        self.primary_gate = kinds.primary_gate
        self.gates_of_watchers = kinds.gates_of_watchers
        self.all_gates = kinds.all_gates
        self.monitors_gate = kinds.monitors_gate
        client, spec, keyspace = kinds.client, kinds.spec, type(state.keyspace)
        self.gates = slot(client, "gates")
        self.out = slot(client, "out")
        self.resp3 = slot(client, "resp3")
        self.rewritten = slot(client, "rewritten")
        self.write_offset = slot(client, "write_offset")
        self.sock = slot(client, "sock")
        self.close_after_reply = slot(client, "close_after_reply")
        self.last_command = slot(client, "last_command")
        self.full_name = slot(spec, "full_name")
        self.checked_gates = slot(spec, "checked_gates")
        self.on_fast_path = slot(spec, "on_fast_path")
        self.min_arity = slot(spec, "min_arity")
        self.max_arity = slot(spec, "max_arity")
        self.single_key = slot(spec, "single_key")
        self.run_slot = slot(spec, "run")
        self.calls = slot(spec, "calls")
        self.nanos = slot(spec, "nanos")
        self.timings = slot(spec, "timings")
        self.failed_calls = slot(spec, "failed_calls")
        stream_class = type(self.stream)
        self.sink = slot(stream_class, "_sink")
        self.stream_pending = slot(stream_class, "_pending")
        self.selected_db = slot(stream_class, "selected_db")
        self.offset = slot(stream_class, "offset")
        self.db = slot(client, "db")
        self.index = slot(type(state.keyspace.dbs[0]), "index")
        self.dirty = slot(keyspace, "dirty")
        self.hot_key = slot(keyspace, "hot_key")
        self.hot_slot = slot(keyspace, "hot_slot")

    def run(self, client, list commands not None, Py_ssize_t position, long long until_ns):
        """See `slotmesh.node.serving.fast_path.FastPath.run`."""
        return self.run_commands(client, commands, position, until_ns)

    cdef Py_ssize_t run_commands(
        self, object client, list commands, Py_ssize_t position, long long until_ns
    ) except? -1:
        """`run` for C. Leaves in `ended_ns` when the last command was over."""
        cdef Py_ssize_t total = PyList_GET_SIZE(commands)
        cdef Py_ssize_t words, key_at
        cdef long long last, now, slow_nanos, reply_limit, dirty, gates, server_gates, follows, checked, number = 0
        cdef int place
        cdef list argv
        cdef list out
        cdef object spec, result, key, made, ran = None
        cdef PyObject* found
        cdef object keyspace = self.keyspace
        cdef object reports = self.reports
        cdef object state = self.state
        cdef bytearray held = state.served
        cdef bytearray readable = state.readable
        cdef const char* served
        if not PyObject_TypeCheck(client, <PyTypeObject*>self.client_class):
            raise TypeError("the fast path is for clients")
        out = <list>get(client, self.out)
        follows = get_int(client, self.gates) & self.primary_gate
        checked = self.all_gates
        if follows:
            checked = self.gates_of_watchers
            held = None
        slow_nanos = state.slow_nanos
        reply_limit = state.reply_limit
        last = nanos_now()
        while position < total:
            argv = <list>PyList_GET_ITEM(commands, position)
            found = PyDict_GetItem(self.lookup, <object>PyList_GET_ITEM(argv, 0))
            if found == NULL:
                break
            spec = <object>found
            words = PyList_GET_SIZE(argv)
            server_gates = <long long>state.gates
            if (
                not holds(spec, self.on_fast_path, True)
                or words < get_int(spec, self.min_arity)
                or words > get_int(spec, self.max_arity)
                or server_gates & get_int(spec, self.checked_gates) & checked
            ):
                break
            served = NULL if held is None else PyByteArray_AS_STRING(held)
            gates = get_int(client, self.gates)
            if gates != follows:
                if not self.gates_are_open(client, spec, argv):
                    break
                if served != NULL and gates & self.readonly_gate and get_int(spec, self.checked_gates) == self.gates_of_readers:
                    served = PyByteArray_AS_STRING(readable)
            key_at = get_int(spec, self.single_key)
            if key_at > 0:
                key = <object>PyList_GET_ITEM(argv, key_at)
                if self.clustered:
                    place = cluster_slot(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
                    if served != NULL and not served[place]:
                        break
                else:
                    place = database_part(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
                set(keyspace, self.hot_key, key)
                set(keyspace, self.hot_slot, place)
            elif key_at < 0 and served != NULL:
                break
            position += 1
            ran = spec
            dirty = get_int(keyspace, self.dirty)
            try:
                result = (get(spec, self.run_slot))(client, argv)
                if PyLong_CheckExact(result):
                    number = PyLong_AsLongLong(result)  # OverflowError: no reply has more than 64 bits
            except self.command_error as error:
                result = error.reply
                set(spec, self.failed_calls, get_int(spec, self.failed_calls) + 1)
                state.stats.count_error(result)
            except Exception:  # a bug of ours: it is logged, and must not end the process that holds the data
                result = reports.handler_failed(spec, argv)
            if get_int(keyspace, self.dirty) > dirty or not holds(client, self.rewritten, None):
                if not holds(client, self.rewritten, None) or (
                    PyList_GET_SIZE(self.feeds) and not self._feed_stream(client, argv)
                ):
                    self.propagation.after_command(client, argv)
                set(client, self.write_offset, self.stream.offset)
            now = nanos_now()
            self._account(client, spec, argv, result, now - last, slow_nanos)
            last = now
            if server_gates & self.monitors_gate:
                reports.monitors.called(client, spec, argv)
            if follows:
                if type(result) is self.error_reply:
                    self.finish(client, spec, argv, result)
            elif PyBytes_CheckExact(result):
                made = bulk(<bytes>result)
                PyList_Append(out, made)
                if PyBytes_GET_SIZE(made) >= reply_limit:
                    reports.note_large_reply(client, argv, PyBytes_GET_SIZE(made))
            elif result is self.ok:
                PyList_Append(out, b"+OK\r\n")
            elif PyLong_CheckExact(result):
                PyList_Append(out, integer(number))
            elif result is None:
                PyList_Append(out, b"_\r\n" if holds(client, self.resp3, True) else b"$-1\r\n")
            elif self._finish(client, spec, argv, result, out):
                position = -position
                break
            if (
                now >= until_ns
                or PyDict_Size(self.ready)
                or (holds(client, self.sock, None) and not follows)
                or holds(client, self.close_after_reply, True)
            ):
                break
        self.ended_ns = last
        if ran is not None:
            set(client, self.last_command, get(ran, self.full_name))
        return position

    cdef bint _feed_stream(self, object client, list argv) except -1:
        """What `Propagation.after_command` comes to when the stream for replicas is the only feed, and in the database of
        the client; False where it is not."""
        cdef object stream = self.stream
        cdef bytes data
        if (
            PyList_GET_SIZE(self.feeds) != 1
            or <object>PyList_GET_ITEM(self.feeds, 0) is not get(stream, self.sink)
            or get_int(stream, self.selected_db) != get_int(get(client, self.db), self.index)
        ):
            return False
        data = command(argv)
        PyList_Append(get(stream, self.stream_pending), data)
        set(stream, self.offset, get_int(stream, self.offset) + PyBytes_GET_SIZE(data))
        return True

    cdef bint _finish(self, object client, object spec, list argv, object result, list out) except -1:
        """A reply that is not one of the usual: whether it blocks the client."""
        cdef object made
        if PyList_CheckExact(result):
            made = encode_array(result, holds(client, self.resp3, True))
            if made is not None:
                PyList_Append(out, made)
                if PyBytes_GET_SIZE(made) >= <long long>self.state.reply_limit:
                    self.reports.note_large_reply(client, argv, PyBytes_GET_SIZE(made))
                return False
        return self.finish(client, spec, argv, result)

    cdef int _account(self, object client, object spec, list argv, object result, long long spent, long long slow_nanos) except -1:
        """Statistics of one call. One that blocks counts once it is served."""
        cdef bint blocks = type(result) is self.block
        cdef object timings = get(spec, self.timings)
        cdef Py_ssize_t step = <Py_ssize_t>(spent >> self.latency_shift)
        cdef list counts
        cdef object count
        if not blocks:
            set(spec, self.calls, get_int(spec, self.calls) + 1)
            set(spec, self.nanos, get_int(spec, self.nanos) + spent)
        if timings is not None:
            counts = <list>timings
            if step < PyList_GET_SIZE(counts):
                count = PyLong_FromLongLong(PyLong_AsLongLong(<object>PyList_GET_ITEM(counts, step)) + 1)
                counts[step] = count
            else:
                self.reports.note_latency(spec, spent)
        if spent >= slow_nanos and not blocks:
            self.reports.note_slow(client, spec, argv, spent)
        return 0
