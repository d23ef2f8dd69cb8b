"""Attributes of classes with `__slots__`, read at the offset that the class's member descriptor tells.

That costs as much as a field of a C struct; a look-up by name costs twenty times that. `slot` finds the offset once and
refuses a descriptor of another kind; the object must then be of that class.
"""

from cpython.long cimport PyLong_AsLongLong
from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF, Py_XDECREF


cdef extern from *:
    """
    #include <structmember.h>
    #include <time.h>

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


cdef inline Py_ssize_t slot(type cls, str name) except -1:
    """The offset of a slot. Raises KeyError or TypeError when the class has no such slot."""
    cdef Py_ssize_t at = slot_offset(cls.__dict__[name])
    if at < 0:
        raise TypeError(f"{cls.__name__}.{name} is no slot")
    return at


cdef inline object get(object owner, Py_ssize_t at):
    """The object in a slot, which is never unset."""
    return <object>(<PyObject**>(<char*><PyObject*>owner + at))[0]


cdef inline bint holds(object owner, Py_ssize_t at, object value):
    """Whether the slot holds this very object."""
    return (<PyObject**>(<char*><PyObject*>owner + at))[0] == <PyObject*>value


cdef inline long long get_int(object owner, Py_ssize_t at) except? -1:
    """The integer in a slot."""
    return PyLong_AsLongLong(<object>(<PyObject**>(<char*><PyObject*>owner + at))[0])


cdef inline void set(object owner, Py_ssize_t at, object value):
    """Put another object into a slot."""
    cdef PyObject** place = <PyObject**>(<char*><PyObject*>owner + at)
    cdef PyObject* old = place[0]
    Py_INCREF(value)
    place[0] = <PyObject*>value
    Py_XDECREF(old)
