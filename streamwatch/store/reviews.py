"""What people said of alerts: every review with who and when, and the last one beside the alert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from streamwatch.records import Label
from streamwatch.store.rows import clean_text
from streamwatch.store.states import ReviewState
from streamwatch.store.tables import alerts, reviews


@dataclass(frozen=True, slots=True)
class Review:
    """One review of an alert. at: UTC. by: None where it is not known. state: `new` where a review was withdrawn."""

    at: datetime
    by: str | None
    state: ReviewState
    label: Label | None = None
    comment: str | None = None


def save_review(connection: Connection, alert_id: str, review: Review) -> bool:
    """Add a review to those of an alert; whether there is such an alert."""
    withdrawn = review.state is ReviewState.NEW
    by = None if review.by is None else clean_text(review.by)
    label = None if review.label is None else review.label.value
    comment = None if review.comment is None else clean_text(review.comment)
    current = {
        "state": review.state.value,
        "review_label": label,
        "review_comment": comment,
        "reviewed_at": None if withdrawn else review.at,
        "reviewed_by": None if withdrawn else by,
    }
    if connection.execute(update(alerts).where(alerts.c.id == alert_id), current).rowcount == 0:
        return False
    row = {"alert_id": alert_id, "at": review.at, "by": by, "state": current["state"]}
    connection.execute(insert(reviews), {**row, "label": label, "comment": comment})
    return True


def load_reviews(connection: Connection, alert_id: str) -> list[Review]:
    """The reviews of an alert, the first one first."""
    query = select(reviews).where(reviews.c.alert_id == alert_id).order_by(reviews.c.id)
    return [
        Review(
            at=row["at"],
            by=row["by"],
            state=ReviewState(row["state"]),
            label=None if row["label"] is None else Label(row["label"]),
            comment=row["comment"],
        )
        for row in connection.execute(query).mappings()
    ]
