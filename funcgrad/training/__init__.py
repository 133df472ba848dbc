"""The parts of the program ``python -m funcgrad``: data, the classifier, and files of parameters."""
