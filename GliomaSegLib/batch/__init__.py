"""Many cases, segmented on one machine or many, with a table and a page over all of them.

``table`` reads the list of cases, ``plan`` looks at what is there, ``run`` runs the plan: ``dispatch`` gives the
cases to workers (``local`` processes, or those of a Dask cluster, ``cluster``), ``failure_log`` keeps what failed,
``summary`` and ``overview_page`` show the outcome. ``cases``, ``dispatch`` and ``local`` need the standard library
alone, so that an application can use them too.
"""
