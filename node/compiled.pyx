# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True
"""The three leaf mechanisms that every request passes, compiled: parsing, the straight road, encoding.

Each has a twin in plain Python, which is the one to read first and what runs where this module was not built (no C
compiler at installation, or `SLOTMESH_PLAIN=1`): `node/resp/parser.py` (`parse_quick`), `node/resp/encoder.py`
(`encode_array`, `encode_command`) and `node/straight.py` (`StraightRoad`). Both have the same contract, and the tests
run the same cases over both. Nothing here decides anything of its own: what is not the plain case is left to Python.

Objects of classes with `__slots__` are read at the offset that the class's member descriptor tells, which costs as much
as a field of a C struct; a lookup by name costs twenty times that. `_Slot` checks once that there is such a descriptor.
"""

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItem, PyDict_Size
from cpython.list cimport PyList_Append, PyList_CheckExact, PyList_GET_ITEM, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsLongLong, PyLong_CheckExact, PyLong_FromLongLong
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF
from cpython.tuple cimport PyTuple_CheckExact
from libc.string cimport memchr, memcpy


cdef extern from *:
    """
    #include <time.h>
    #include <structmember.h>

    /* The offset of a slot of a class with __slots__, or -1 when the descriptor is of another kind. */
    static Py_ssize_t slot_offset(PyObject *descriptor) {
        if (!Py_IS_TYPE(descriptor, &PyMemberDescr_Type)) return -1;
        PyMemberDef *member = ((PyMemberDescrObject *)descriptor)->d_member;
        return member->type == T_OBJECT_EX ? member->offset : -1;
    }

    /* The clock of time.perf_counter_ns. */
    static long long nanos_now(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (long long)now.tv_sec * 1000000000LL + now.tv_nsec;
    }
    """
    Py_ssize_t slot_offset(object descriptor)
    long long nanos_now() nogil


# -- parsing -----------------------------------------------------------------------------------------------------------

cdef enum:
    MOST_BYTES = 65536  # lengths above this are for the exact parser, which knows the limits of the configuration
    INCOMPLETE = -1
    NOT_PLAIN = -2
    DEEPEST = 32  # arrays nested deeper are for Python, which notices when its stack ends


cdef inline Py_ssize_t _header(const char* at, const char* end, char kind, Py_ssize_t* value) noexcept:
    """Read `<kind><canonical decimal>\\r\\n`: the bytes it takes, INCOMPLETE or NOT_PLAIN."""
    cdef const char* start = at
    cdef Py_ssize_t number = 0
    cdef int digits = 0
    if at == end:
        return INCOMPLETE
    if at[0] != kind:
        return NOT_PLAIN
    at += 1
    while at < end and 48 <= at[0] <= 57:
        number = number * 10 + (at[0] - 48)
        digits += 1
        at += 1
        if number > MOST_BYTES or (digits > 1 and number < 10):
            return NOT_PLAIN
    if at == end:
        return INCOMPLETE
    if not digits or at[0] != 13:
        return NOT_PLAIN
    if at + 1 == end:
        return INCOMPLETE
    if at[1] != 10:
        return NOT_PLAIN
    value[0] = number
    return at + 2 - start


def parse_quick(bytes chunk not None):
    """The twin of `node.resp.parser.parse_quick`: (whole commands, bytes they took, whether the rest is a beginning)."""
    cdef const char* start = PyBytes_AS_STRING(chunk)
    cdef const char* end = start + PyBytes_GET_SIZE(chunk)
    cdef const char* command = start
    cdef const char* at
    cdef Py_ssize_t took, count, size, position
    cdef list commands = []
    cdef list argv
    cdef bytes arg
    while command < end:
        took = _header(command, end, 42, &count)
        if took < 0:
            return commands, command - start, took == INCOMPLETE
        if count == 0:
            return commands, command - start, False
        at = command + took
        if count * 6 > end - at:  # no argument is shorter than `$0`, with its line ends; so nothing is made in vain
            return commands, command - start, _is_beginning(at, end, count)
        argv = PyList_New(count)
        for position in range(count):
            took = _header(at, end, 36, &size)
            if took >= 0:
                at += took
                if end - at < size + 2:
                    took = INCOMPLETE
                elif at[size] != 13 or at[size + 1] != 10:
                    took = NOT_PLAIN
            if took < 0:
                return commands, command - start, took == INCOMPLETE
            arg = PyBytes_FromStringAndSize(at, size)
            Py_INCREF(arg)
            PyList_SET_ITEM(argv, position, arg)
            at += size + 2
        commands.append(argv)
        command = at
    return commands, command - start, False


cdef bint _is_beginning(const char* at, const char* end, Py_ssize_t count) noexcept:
    """Whether what there is of a command's arguments is plain; there are fewer bytes than `count` of them take."""
    cdef Py_ssize_t took, size
    while count:
        took = _header(at, end, 36, &size)
        if took < 0:
            return took == INCOMPLETE
        at += took
        if end - at < size + 2:
            return True
        if at[size] != 13 or at[size + 1] != 10:
            return False
        at += size + 2
        count -= 1
    return False


# -- encoding ----------------------------------------------------------------------------------------------------------

cdef inline int _digits(unsigned long long number) noexcept:
    cdef int count = 1
    while number >= 10:
        number //= 10
        count += 1
    return count


cdef inline char* _put_number(char* at, char kind, long long number) noexcept:
    """`<kind><number>\\r\\n`; the place behind it."""
    cdef unsigned long long rest
    cdef int count
    cdef char* digit
    at[0] = kind
    at += 1
    if number < 0:
        at[0] = 45
        at += 1
        rest = <unsigned long long>(-(number + 1)) + 1
    else:
        rest = <unsigned long long>number
    count = _digits(rest)
    digit = at + count
    while True:
        digit -= 1
        digit[0] = <char>(48 + rest % 10)
        rest //= 10
        if digit == at:
            break
    at[count] = 13
    at[count + 1] = 10
    return at + count + 2


cdef inline char* _put_bulk(char* at, const char* data, Py_ssize_t size) noexcept:
    at = _put_number(at, 36, size)
    memcpy(at, data, size)
    at[size] = 13
    at[size + 1] = 10
    return at + size + 2


cdef inline Py_ssize_t _bulk_size(Py_ssize_t size) noexcept:
    return size + _digits(size) + 5


cdef inline bytes _bulk(bytes value):
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, _bulk_size(size))
    _put_bulk(PyBytes_AS_STRING(made), PyBytes_AS_STRING(value), size)
    return made


cdef inline bytes _integer(long long value):
    cdef char text[24]
    cdef char* end = _put_number(text, 58, value)
    return PyBytes_FromStringAndSize(text, end - text)


cdef Py_ssize_t _measure(object items, bint resp3, int depth) except -2:
    """Bytes that an array takes; -1 when it holds what only Python's encoder knows."""
    cdef Py_ssize_t total = 0, part
    cdef long long number
    cdef object item
    if PyList_CheckExact(items):
        total = 3 + _digits(PyList_GET_SIZE(items))
    else:
        total = 3 + _digits(len(<tuple>items))
    for item in items:
        if PyBytes_CheckExact(item):
            total += _bulk_size(PyBytes_GET_SIZE(item))
        elif item is None:
            total += 3 if resp3 else 5
        elif PyLong_CheckExact(item):
            try:
                number = PyLong_AsLongLong(item)
            except OverflowError:
                return -1
            total += 3 + (_digits(<unsigned long long>number) if number >= 0
                          else 1 + _digits(<unsigned long long>(-(number + 1)) + 1))
        elif PyList_CheckExact(item) or PyTuple_CheckExact(item):
            part = _measure(item, resp3, depth + 1) if depth < DEEPEST else -1
            if part < 0:
                return -1
            total += part
        else:
            return -1
    return total


cdef char* _put_items(char* at, object items, bint resp3) except NULL:
    """Write an array that was measured."""
    cdef object item
    at = _put_number(at, 42, len(items))
    for item in items:
        if PyBytes_CheckExact(item):
            at = _put_bulk(at, PyBytes_AS_STRING(item), PyBytes_GET_SIZE(item))
        elif item is None:
            if resp3:
                memcpy(at, b"_\r\n", 3)
                at += 3
            else:
                memcpy(at, b"$-1\r\n", 5)
                at += 5
        elif PyLong_CheckExact(item):
            at = _put_number(at, 58, PyLong_AsLongLong(item))
        else:
            at = _put_items(at, item, resp3)
    return at


cpdef encode_array(object items, bint resp3):
    """The twin of `node.resp.encoder.encode_array`: a list or tuple of strings, integers, nulls and such arrays, or
    None when it holds anything else."""
    cdef Py_ssize_t size = _measure(items, resp3, 0)
    cdef bytes made
    if size < 0:
        return None
    made = PyBytes_FromStringAndSize(NULL, size)
    _put_items(PyBytes_AS_STRING(made), items, resp3)
    return made


def encode_command(list argv not None):
    """The twin of `node.resp.encoder.encode_command`: a command as the array of bulk strings that clients send."""
    cdef Py_ssize_t size = 3 + _digits(PyList_GET_SIZE(argv))
    cdef object arg
    cdef bytes made
    cdef char* at
    for arg in argv:
        if not PyBytes_CheckExact(arg):
            raise TypeError(f"an argument of a command is bytes, not {type(arg).__name__}")
        size += _bulk_size(PyBytes_GET_SIZE(arg))
    made = PyBytes_FromStringAndSize(NULL, size)
    at = _put_number(PyBytes_AS_STRING(made), 42, PyList_GET_SIZE(argv))
    for arg in argv:
        at = _put_bulk(at, PyBytes_AS_STRING(arg), PyBytes_GET_SIZE(arg))
    return made


# -- the slot of a key -------------------------------------------------------------------------------------------------

cdef unsigned short _crc16_table[256]
cdef unsigned int _crc32_table[256]


cdef void _fill_tables() noexcept:
    """CRC-16/XMODEM (polynomial 0x1021), which the cluster specification names, and the common CRC-32 of zlib."""
    cdef unsigned int byte, crc16, crc32
    cdef int bit
    for byte in range(256):
        crc16 = byte << 8
        crc32 = byte
        for bit in range(8):
            crc16 = (crc16 << 1) ^ 0x1021 if crc16 & 0x8000 else crc16 << 1
            crc32 = (crc32 >> 1) ^ 0xEDB88320 if crc32 & 1 else crc32 >> 1
        _crc16_table[byte] = <unsigned short>crc16
        _crc32_table[byte] = crc32


_fill_tables()


cdef inline int _cluster_slot(const char* key, Py_ssize_t size) noexcept:
    """The hash slot: of what stands between the first `{` and the next `}` behind it, unless that is empty."""
    cdef unsigned short crc = 0
    cdef const char* opened = <const char*>memchr(key, 123, size)
    cdef const char* closed
    cdef Py_ssize_t position
    if opened != NULL:
        opened += 1
        closed = <const char*>memchr(opened, 125, key + size - opened)
        if closed != NULL and closed != opened:
            key = opened
            size = closed - opened
    for position in range(size):
        crc = <unsigned short>((crc << 8) ^ _crc16_table[(crc >> 8) ^ <unsigned char>key[position]])
    return crc & 0x3FFF


cdef inline int _part(const char* key, Py_ssize_t size) noexcept:
    """The part of a database that a key lives in outside a cluster (`node/keyspace/database.py`)."""
    cdef unsigned int crc = 0xFFFFFFFFu
    cdef Py_ssize_t position
    for position in range(size):
        crc = (crc >> 8) ^ _crc32_table[(crc ^ <unsigned char>key[position]) & 0xFF]
    return <int>((crc ^ 0xFFFFFFFFu) & 0x3FFF)


def slot_of(bytes key not None, bint clustered):
    """What `Database.slot_of` computes: the hash slot in a cluster, elsewhere the part of the database."""
    if clustered:
        return _cluster_slot(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    return _part(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))


# -- the straight road -------------------------------------------------------------------------------------------------

cdef inline object _get(object owner, Py_ssize_t at):
    """The object in a slot that is never unset."""
    return <object>(<PyObject**>(<char*><PyObject*>owner + at))[0]


cdef inline bint _is(object owner, Py_ssize_t at, object value):
    return (<PyObject**>(<char*><PyObject*>owner + at))[0] == <PyObject*>value


cdef inline long long _int(object owner, Py_ssize_t at) except? -1:
    return PyLong_AsLongLong(<object>(<PyObject**>(<char*><PyObject*>owner + at))[0])


cdef inline void _set(object owner, Py_ssize_t at, object value):
    cdef PyObject** place = <PyObject**>(<char*><PyObject*>owner + at)
    cdef PyObject* old = place[0]
    Py_INCREF(value)
    place[0] = <PyObject*>value
    Py_XDECREF(old)


cdef Py_ssize_t _slot(type cls, str name) except -1:
    cdef Py_ssize_t at = slot_offset(cls.__dict__[name])
    if at < 0:
        raise TypeError(f"{cls.__name__}.{name} is no slot")
    return at


cdef class StraightRoad:
    """The twin of `node.straight.StraightRoad`."""

    cdef object server, keyspace, stream, propagation, finish
    cdef type client_class, spec_class
    cdef dict lookup, ready
    cdef list feeds
    cdef bint clustered
    cdef object command_error, ok, block
    cdef int latency_shift
    # offsets of slots
    cdef Py_ssize_t gates, out, resp3, rewritten, write_offset, sock, close_after_reply, last_command
    cdef Py_ssize_t minds, quick, min_arity, max_arity, single_key, run_slot, calls, nanos, timings, failed_calls, full_name
    cdef Py_ssize_t dirty, hot_key, hot_slot

    def __init__(self, server, kinds, finish):
        self.server = server
        self.keyspace = server.keyspace
        self.clustered = server.keyspace.clustered
        self.stream = server.replication.stream
        self.propagation = server.propagation
        self.feeds = server.propagation.feeds
        self.ready = server.blocking.ready
        self.finish = finish
        self.lookup = kinds.lookup
        self.client_class = kinds.client
        self.spec_class = kinds.spec
        self.command_error = kinds.error
        self.ok = kinds.ok
        self.block = kinds.block
        self.latency_shift = kinds.latency_shift
        client, spec, keyspace = kinds.client, kinds.spec, type(server.keyspace)
        self.gates = _slot(client, "gates")
        self.out = _slot(client, "out")
        self.resp3 = _slot(client, "resp3")
        self.rewritten = _slot(client, "rewritten")
        self.write_offset = _slot(client, "write_offset")
        self.sock = _slot(client, "sock")
        self.close_after_reply = _slot(client, "close_after_reply")
        self.last_command = _slot(client, "last_command")
        self.full_name = _slot(spec, "full_name")
        self.minds = _slot(spec, "minds")
        self.quick = _slot(spec, "quick")
        self.min_arity = _slot(spec, "min_arity")
        self.max_arity = _slot(spec, "max_arity")
        self.single_key = _slot(spec, "single_key")
        self.run_slot = _slot(spec, "run")
        self.calls = _slot(spec, "calls")
        self.nanos = _slot(spec, "nanos")
        self.timings = _slot(spec, "timings")
        self.failed_calls = _slot(spec, "failed_calls")
        self.dirty = _slot(keyspace, "dirty")
        self.hot_key = _slot(keyspace, "hot_key")
        self.hot_slot = _slot(keyspace, "hot_slot")

    def run(self, client, list commands not None, Py_ssize_t position):
        """Run `commands` from `position` on; the position of the first that is left to Python."""
        cdef Py_ssize_t total = PyList_GET_SIZE(commands)
        cdef Py_ssize_t words, key_at
        cdef long long last, now, slow_nanos, dirty
        cdef int slot
        cdef list argv
        cdef list out
        cdef object spec, result, key, ran = None
        cdef PyObject* found
        cdef object keyspace = self.keyspace
        cdef object server = self.server
        cdef bytearray held = server.served
        cdef const char* served = NULL if held is None else PyByteArray_AS_STRING(held)
        if type(client) is not self.client_class:
            raise TypeError("the straight road is for clients")
        out = <list>_get(client, self.out)
        slow_nanos = server.slow_nanos
        last = nanos_now()
        while position < total:
            argv = <list>PyList_GET_ITEM(commands, position)
            if _int(client, self.gates):
                break
            found = PyDict_GetItem(self.lookup, <object>PyList_GET_ITEM(argv, 0))
            if found == NULL:
                break
            spec = <object>found
            words = PyList_GET_SIZE(argv)
            if (
                not _is(spec, self.quick, True)
                or words < _int(spec, self.min_arity)
                or words > _int(spec, self.max_arity)
                or <long long>server.gates & _int(spec, self.minds)
            ):
                break
            key_at = _int(spec, self.single_key)
            if key_at > 0:
                key = <object>PyList_GET_ITEM(argv, key_at)
                if self.clustered:
                    slot = _cluster_slot(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
                    if served != NULL and not served[slot]:
                        break
                else:
                    slot = _part(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
                _set(keyspace, self.hot_key, key)
                _set(keyspace, self.hot_slot, slot)
            elif key_at < 0 and served != NULL:
                break
            position += 1
            ran = spec
            dirty = _int(keyspace, self.dirty)
            try:
                result = (_get(spec, self.run_slot))(client, argv)
            except self.command_error as error:
                result = error
                _set(spec, self.failed_calls, _int(spec, self.failed_calls) + 1)
                server.stats.count_error(error)
            except Exception:  # a bug of ours: it is logged, and must not end the process that holds the data
                result = server.handler_failed(spec, argv)
            if _int(keyspace, self.dirty) > dirty or not _is(client, self.rewritten, None):
                if PyList_GET_SIZE(self.feeds) or not _is(client, self.rewritten, None):
                    self.propagation.after_command(client, argv)
                _set(client, self.write_offset, self.stream.offset)
            now = nanos_now()
            self._account(client, spec, argv, result, now - last, slow_nanos)
            last = now
            if PyBytes_CheckExact(result):
                PyList_Append(out, _bulk(<bytes>result))
            elif result is self.ok:
                PyList_Append(out, b"+OK\r\n")
            elif PyLong_CheckExact(result):
                PyList_Append(out, _integer(PyLong_AsLongLong(result)))  # no handler answers beyond 64 bits
            elif result is None:
                PyList_Append(out, b"_\r\n" if _is(client, self.resp3, True) else b"$-1\r\n")
            elif self._finish(client, spec, argv, result, out):
                position = -position
                break
            if PyDict_Size(self.ready) or _is(client, self.sock, None) or _is(client, self.close_after_reply, True):
                break
        if ran is not None:
            _set(client, self.last_command, _get(ran, self.full_name))
        return position

    cdef bint _finish(self, object client, object spec, list argv, object result, list out) except -1:
        """A reply that is not one of the usual: whether it blocks the client."""
        cdef object made
        if PyList_CheckExact(result):
            made = encode_array(result, _is(client, self.resp3, True))
            if made is not None:
                PyList_Append(out, made)
                return False
        return self.finish(client, spec, argv, result)

    cdef int _account(self, object client, object spec, list argv, object result, long long spent, long long slow_nanos) except -1:
        """Statistics of one call. One that blocks counts once it is served."""
        cdef bint blocks = type(result) is self.block
        cdef object timings = _get(spec, self.timings)
        cdef Py_ssize_t step = <Py_ssize_t>(spent >> self.latency_shift)
        cdef list counts
        cdef object count
        if not blocks:
            _set(spec, self.calls, _int(spec, self.calls) + 1)
            _set(spec, self.nanos, _int(spec, self.nanos) + spent)
        if timings is not None:
            counts = <list>timings
            if step < PyList_GET_SIZE(counts):
                count = PyLong_FromLongLong(PyLong_AsLongLong(<object>PyList_GET_ITEM(counts, step)) + 1)
                counts[step] = count
            else:
                self.server.note_latency(spec, spent)
        if spent >= slow_nanos and not blocks:
            self.server.note_slow(client, spec, argv, spent)
        return 0
