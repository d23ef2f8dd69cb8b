# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, embedsignature=True
"""Parsing plain requests, encoding arrays and commands, the slot of a key.

The twins in plain Python: `parse_plain_in_python` in `node/resp/parser.py`, `encode_command_plain` and the encoding of arrays
in `node/resp/encoder.py`, `Database.slot_of`.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_CheckExact, PyList_GET_SIZE, PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsLongLong, PyLong_CheckExact
from cpython.ref cimport Py_INCREF
from cpython.tuple cimport PyTuple_CheckExact
from libc.string cimport memchr, memcpy

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


cdef Py_ssize_t parse(const char* start, const char* end, list commands, bint* rest_is_plain) except -1:
    """Append the plain commands at the start of the bytes; how many bytes they took. What is left, if anything, may be
    the beginning of one more: `rest_is_plain`."""
    cdef const char* command = start
    cdef const char* at
    cdef Py_ssize_t took, count, size, position
    cdef list argv
    cdef bytes arg
    rest_is_plain[0] = False
    while command < end:
        took = _header(command, end, 42, &count)
        if took < 0:
            rest_is_plain[0] = took == INCOMPLETE
            break
        if count == 0:
            break
        at = command + took
        if count * 6 > end - at:  # no argument is shorter than `$0`, with its line ends; so nothing is made in vain
            rest_is_plain[0] = _is_beginning(at, end, count)
            break
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
                rest_is_plain[0] = took == INCOMPLETE
                return command - start
            arg = PyBytes_FromStringAndSize(at, size)
            Py_INCREF(arg)
            PyList_SET_ITEM(argv, position, arg)
            at += size + 2
        commands.append(argv)
        command = at
    return command - start


def parse_plain(bytes chunk not None):
    """The twin of `node.resp.parser.parse_plain`: (whole commands, bytes they took, whether the rest is a beginning)."""
    cdef list commands = []
    cdef bint rest_is_plain = False
    cdef const char* start = PyBytes_AS_STRING(chunk)
    cdef Py_ssize_t used = parse(start, start + PyBytes_GET_SIZE(chunk), commands, &rest_is_plain)
    return commands, used, rest_is_plain


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


cdef bytes bulk(bytes value):
    """One bulk string."""
    cdef Py_ssize_t size = PyBytes_GET_SIZE(value)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, _bulk_size(size))
    _put_bulk(PyBytes_AS_STRING(made), PyBytes_AS_STRING(value), size)
    return made


cdef bytes integer(long long value):
    """One integer reply."""
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
    return command(argv)


cdef bytes command(list argv):
    """`encode_command` for C."""
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


cdef int cluster_slot(const char* key, Py_ssize_t size) noexcept:
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


cdef int database_part(const char* key, Py_ssize_t size) noexcept:
    """The part of a database that a key lives in outside a cluster (`node/keyspace/database.py`)."""
    cdef unsigned int crc = 0xFFFFFFFFu
    cdef Py_ssize_t position
    for position in range(size):
        crc = (crc >> 8) ^ _crc32_table[(crc ^ <unsigned char>key[position]) & 0xFF]
    return <int>((crc ^ 0xFFFFFFFFu) & 0x3FFF)


def slot_of(bytes key not None, bint clustered):
    """What `Database.slot_of` computes: the hash slot in a cluster, elsewhere the part of the database."""
    if clustered:
        return cluster_slot(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
    return database_part(PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
