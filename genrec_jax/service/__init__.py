# SPDX-License-Identifier: Apache-2.0
"""Trained models behind HTTP: what `genrec serve` runs.

    store.py, sqlite_store.py       events that came since training
    live_history.py                 a user's history now
    live_items.py                   items that are dead, attributes that changed
    asks.py, asker.py               from what is sent to what a model is asked
    shapes.py, served.py            a model, compiled for a few sizes
    opening.py, golden.py, golden_bundle.py
                                    from a workdir to one that may be promoted
    ladder.py, engine.py            queue, batches, one thread for the model
    workers.py                      threads that read and write for requests
    versions.py                     which model answers whom
    history_cache.py                the seam of a cache of histories
    resumption.py                   how a model goes on with a history
    paged_cache.py, paged_search.py, paged_reader.py, paged_plan.py
                                    such a cache, in pages on the device
    ready_lists.py, made_ahead.py   lists that were made ahead
    service.py                      all of it, without HTTP
    wire.py, app.py, edge.py, page.py, logs.py, process.py    HTTP

The extra `serve` brings what metrics.py and the last line import. Nothing is
imported here, so that the store alone stays light.
"""
