"""The derivative auditor: every way to a derivative compared with the others and with differences of the function."""
from funcgrad.audit.check import check
from funcgrad.audit.report import Report, Row

__all__ = ["Report", "Row", "check"]
