"""One HTML page per video: the verdict, what it rests on, and what it cannot say."""

from streamwatch.report.page import check_replaceable, render, write_page
from streamwatch.report.subject import VideoReport

__all__ = ["VideoReport", "check_replaceable", "render", "write_page"]
