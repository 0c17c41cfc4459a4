"""The torture: random jobs with known ends, and everything of ours killed, stopped and filled up.

Theory of operation. `__main__` stands outside: it boots guests (`scripts/vm run`) on one kept
disk, cuts the power of all but the last, and adds up what they report. `life` is the inside of
one guest: a runnerd (`victim`), riders (`riders`) that each take jobs from their
submission (`submitting`) to the comparison of their last byte, those who stop and release jobs
in time (`errands`), the troublemakers (`trouble`, the queue's in `queue_trouble`), and witnesses
who follow all events (`witness`). Arrays and flows have riders of their own (`group_riders`), who
have them tried again as one thing until they end well, and a troublemaker (`group_trouble`). At the
end of a life everything that is left is compared (`verifier`), and nothing may be left over
(`leftovers`).

What a job does is a function of the seed and its number (`plan`, `programs`), and so is what it
asks of the queue (`wishes`); what was asked, acknowledged and told is in the ledger, a file that
survives the power cuts. From the two follows what may be true at the end of a job and of each of
its attempts (`verdicts`); from the events, whether it came to that in an order that may be
(`histories`). Of groups and hooks the same is in `group_plans`, `group_ledger`, `group_checks` and
`group_verifier`. Plans, wishes, checks and histories do no I/O, the ledgers none but their files'.
"""
