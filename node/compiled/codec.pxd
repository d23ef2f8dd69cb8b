"""What the other compiled modules take from the codec."""

cdef Py_ssize_t parse(const char* start, const char* end, list commands, bint* rest_is_plain) except -1
cdef bytes bulk(bytes value)
cdef bytes integer(long long value)
cdef bytes command(list argv)
cpdef encode_array(object items, bint resp3)
cdef int cluster_slot(const char* key, Py_ssize_t size) noexcept
cdef int database_part(const char* key, Py_ssize_t size) noexcept
