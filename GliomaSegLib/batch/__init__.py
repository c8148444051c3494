"""Segments many cases on one or several machines, with a table and a page of all results.

``table`` reads the list of cases, ``plan`` checks which can be run, ``run`` runs the plan: ``dispatch`` gives the cases
to workers (processes of ``local``, or of a Dask cluster, ``cluster``), ``failure_log`` records failures, ``summary``
and ``overview_page`` show the results. ``cases``, ``dispatch`` and ``local`` use only the standard library, for Slicer.
"""
