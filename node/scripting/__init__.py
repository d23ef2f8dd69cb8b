"""Lua scripts and functions: what EVAL, FCALL and their kin run, and the sandbox they run in.

    commands -> host (cache, libraries, time limit) -> engine (one Lua world) -> prelude.lua (the sandbox's own code)
                                                          calls (redis.call: dispatch for scripts)

Nothing here imports lupa before the first script or library arrives: most nodes never need it, and the time to start
counts. Why lupa, and what the sandbox rests on: docs/adr/0040-lua.md.
"""
