"""The report of finished runs: one self-contained HTML page, or a slide; and the model card of one run. No torch.

python -m embexp.compare sweep=last --html report.html --png slide.png
"""

from embexp.report.card import card_of
from embexp.report.page import report, write_report
from embexp.report.slide import slide_of

__all__ = ["card_of", "report", "slide_of", "write_report"]
