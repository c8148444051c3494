"""A cohort: many cases by the same road, on one machine or many, with one page over all of them.

``table`` and ``folders`` read what is asked, ``plan`` looks at what is there, ``run`` has workers do it (``local``
processes, or those of a Dask cluster, ``cluster``), ``summary`` and ``page`` tell what came of it. ``cases``, ``run``
and ``local`` need the standard library alone, so that an application can use them too.
"""
