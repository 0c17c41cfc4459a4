"""The queue under load, with a real daemon: very many jobs that run, and very many that wait.

Theory of operation. `__main__` stands outside and boots a guest, or measures right here; `run`
starts a daemon (`place`) and measures it from its own process: several clients submit
(`submitting`), an onlooker asks what people ask meanwhile (`figures`), and in the end every job and
every event is accounted for (`account`). What is measured depends on the machine; what is checked
does not.
"""
