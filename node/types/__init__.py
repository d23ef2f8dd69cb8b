"""The values behind keys: containers that know no client, no key and no reply.

A string is plain `bytes` (a `bytearray` once it is edited in place); every other type is a small class with `TYPE` (the
word of the TYPE command), `encoding()` (the word of OBJECT ENCODING), `copy()` and `__len__`.
"""
