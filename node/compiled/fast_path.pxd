"""What the turn needs of the fast path."""


cdef class FastPath:
    cdef object state, reports, keyspace, stream, propagation, finish
    cdef type client_class
    cdef dict lookup, ready
    cdef list feeds
    cdef bint clustered
    cdef object command_error, error_reply, ok, block, gates_are_open
    cdef long long readonly_gate, gates_of_readers, primary_gate, gates_of_watchers, all_gates, monitors_gate
    cdef int latency_shift
    cdef long long ended_ns
    # offsets of slots
    cdef Py_ssize_t gates, out, resp3, rewritten, write_offset, sock, close_after_reply, last_command
    cdef Py_ssize_t checked_gates, on_fast_path, min_arity, max_arity, single_key, run_slot, calls, nanos, timings, failed_calls, full_name
    cdef Py_ssize_t dirty, hot_key, hot_slot, db, index, sink, stream_pending, selected_db, offset

    cdef Py_ssize_t run_commands(
        self, object client, list commands, Py_ssize_t position, long long until_ns
    ) except? -1
    cdef bint _feed_stream(self, object client, list argv) except -1
    cdef bint _finish(self, object client, object spec, list argv, object result, list out) except -1
    cdef int _account(
        self, object client, object spec, list argv, object result, long long spent, long long slow_nanos
    ) except -1
