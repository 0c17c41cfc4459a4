"""When queued jobs start: pure decisions. State and clock go in, actions come out.

No store, no descriptors, no logging, no clock of its own. What is carried out is
`runner.queueing`'s. `kinds` is what goes in and comes out, `scheduler` the one way in.
"""
