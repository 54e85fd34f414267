"""`/v1/calibration`: how often the forecasts of recommendations held."""

from fastapi import APIRouter

from app.api import bodies
from app.api.dependencies import Reader
from app.api.schemas.recommendations import CalibrationReport
from app.choosing import report_card

router = APIRouter(prefix="/v1", tags=["recommendations"], route_class=bodies.Route)


@router.get("/calibration", summary="How often forecasts held")
def calibration(caller: Reader) -> CalibrationReport:
    """The report card of your own recommendations, by the jobs that came of them."""
    return caller.reads(lambda db: CalibrationReport.of(report_card.of(db, caller.owner)))
