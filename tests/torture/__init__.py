"""The torture: random jobs with known ends, and everything of ours killed, stopped and filled up.

Theory of operation. `__main__` stands outside: it boots guests (`scripts/vm run`) on one kept
disk, cuts the power of all but the last, and adds up what they report. `life` is the inside of
one guest: a runnerd (`victim`), riders (`riders`) that each take jobs from their
submission to the comparison of their last byte, and the troublemakers (`trouble`). At the end
of a life everything that is left is compared (`verifier`), and nothing may be left over
(`leftovers`).

What a job does is a function of the seed and its number (`plan`, `programs`); what was asked,
acknowledged and told is in the ledger, a file that survives the power cuts. From the two follows
what may be true at the end (`verdicts`). Those four do no I/O but the ledger's file.
"""
