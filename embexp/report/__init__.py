"""The report of finished runs: one self-contained HTML page; and the model card of one run. No torch.

python -m embexp.compare sweep=last --html report.html
"""

from embexp.report.card import card_of
from embexp.report.page import report, write_report

__all__ = ["card_of", "report", "write_report"]
