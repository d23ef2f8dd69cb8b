"""The hot loop: accepting, reading, dispatching, propagating, answering, and what the timer does."""
