"""The configuration: its directives, kinds of values, reading, rewriting and live effects."""
