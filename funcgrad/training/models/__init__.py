"""The models of ``python -m funcgrad train``: each a short file that shows how a kind of network is made and trained."""
