"""HTTP to service and back. No SQL, no decision about a rule."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, cast

from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response, StreamingResponse

from shieldx_runtime.core import problems
from shieldx_runtime.core.auth import Principal, Scope
from shieldx_runtime.core.edge import failure
from shieldx_runtime.core.faults import DatabaseUnavailableError
from shieldx_runtime.core.openapi import refusals
from shieldx_runtime.core.problems import Kind, ProblemError
from shieldx_runtime.shadow.errors import TaskError
from shieldx_runtime.shadow.service.billing import (
    BillingUnavailableError,
    InsufficientCreditsError,
    PaymentError,
)
from shieldx_runtime.shadow.service.schemas import (
    Accepted,
    Charge,
    EvaluateBody,
    EvaluationAnswer,
    IngestAnswer,
    MistakesAnswer,
    RejectedLine,
    Status,
    TenantId,
)
from shieldx_runtime.shadow.service.service import Asked, KeyReusedError, ShadowService
from shieldx_runtime.shadow.service.store import Kept
from shieldx_runtime.shadow.service.traffic import MAX_REJECTED
from shieldx_runtime.shadow.service.turns import FullError

SAMPLES_PATH: Final = "/shadow/samples"
_UUID4: Final = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_POLL_S: Final = 0.5
NDJSON: Final = "application/x-ndjson"
WRONG_RULE: Final = Kind("wrong-rule", 422, "The rule cannot be evaluated")
QUEUE_FULL: Final = Kind("queue-full", 429, "Too many evaluations wait")
FAILED: Final = Kind("evaluation-failed", 422, "The evaluation failed")
CANCELLED: Final = Kind("evaluation-cancelled", 409, "The evaluation was cancelled")
ENDED: Final = Kind("evaluation-ended", 409, "The evaluation has come to its end")
KEY_INVALID: Final = Kind("idempotency-key-invalid", 400, "Idempotency key invalid")
KEY_REUSED: Final = Kind("idempotency-key-reused", 422, "Idempotency key reused")
INSUFFICIENT: Final = Kind("insufficient-credits", 402, "Insufficient credits")
UNKNOWN_TENANT: Final = Kind("unknown-tenant", 404, "Unknown tenant")
NOT_PAID: Final = Kind("credits-unavailable", 503, "Credits unavailable")
_ENDS: Final = ("completed", "failed", "cancelled")


def _principal(request: Request) -> Principal:
    principal: Principal = request.state.principal
    principal.require(Scope.READ)
    return principal


Caller = Annotated[Principal, Depends(_principal)]


def _key(
    told: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="A UUID of version 4, new for each new question and the same for each retry: the same question "
            "under it is the same evaluation, for as long as that is kept. One that was refused leaves it free.",
            json_schema_extra={"format": "uuid"},
        ),
    ] = None,
) -> uuid.UUID | None:
    if told is None:
        return None
    if _UUID4.fullmatch(told) is None:
        raise ProblemError(KEY_INVALID, "the header Idempotency-Key is no UUID of version 4: send a new one")
    return uuid.UUID(told)


Key = Annotated[uuid.UUID | None, Depends(_key)]


def _service(request: Request) -> ShadowService:
    service: ShadowService = request.app.state.service
    return service


def _own(principal: Principal, tenant_id: str) -> None:
    """Raises: ProblemError 404, the key is another tenant's: it shall not learn who there is."""
    if not principal.may_act_for(tenant_id):
        raise ProblemError(problems.NOT_FOUND, "this key's tenant is another one: use a key of the tenant")


async def ingest(
    request: Request, principal: Caller, tenant_id: Annotated[TenantId, Query(description="Id of the tenant.")]
) -> Response:
    """Keeps labelled traffic, one JSON object a line. Lines that are no samples are named and left out."""
    _own(principal, tenant_id)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != NDJSON:
        raise ProblemError(problems.MEDIA, f"send labelled traffic as Content-Type: {NDJSON}")
    found = await _service(request).ingest(tenant_id, await request.body())
    rejected = [RejectedLine(line=line, error=error) for line, error in found.rejected[:MAX_REJECTED]]
    return _answer(IngestAnswer(accepted=len(found.lines), rejected=rejected))


async def evaluate(request: Request, body: EvaluateBody, principal: Caller, key: Key) -> Response:
    """Judges a rule on the tenant's stored traffic and answers. 202 where that takes longer than a request may.

    Where evaluations cost credits, the key needs the scope `consume`, too.
    """
    asked = await _asked(request, body, principal, key)
    try:
        async with asyncio.timeout(request.app.state.answer_within_s):
            await asked.done.wait()
    except TimeoutError:
        return _accepted(asked)
    kept = await _service(request).find(asked.eval_id, body.tenant_id)
    if asked.replayed and kept is not None and not kept.lost and kept.status not in _ENDS:
        return _accepted(asked)  # another process works on it
    if kept is not None and kept.status == "cancelled":
        raise ProblemError(CANCELLED, "somebody cancelled it: ask again", eval_id=str(asked.eval_id))
    if kept is None or kept.answer is None:
        raise ProblemError(FAILED, (kept and kept.error) or "it came to no end: ask again", eval_id=str(asked.eval_id))
    return _answer(_completed(kept), headers=_told(asked))


async def evaluate_later(request: Request, body: EvaluateBody, principal: Caller, key: Key) -> Response:
    """Takes the question in and answers at once; the result is at the Location.

    Where evaluations cost credits, the key needs the scope `consume`, too.
    """
    return _accepted(await _asked(request, body, principal, key))


async def result(request: Request, eval_id: uuid.UUID, principal: Caller) -> Response:
    """An evaluation as it stands: its answer, or how far it is."""
    kept = await _found(request, eval_id, principal)
    if kept.answer is not None:
        return _answer(_completed(kept))
    return _answer(_standing(kept))


async def cancel(request: Request, eval_id: uuid.UUID, principal: Caller) -> Response:
    """Ends an evaluation that waits or runs. To cancel it twice changes nothing; 409 once it has come to its end."""
    if not await _service(request).cancel(eval_id, principal.tenant_id):
        kept = await _found(request, eval_id, principal)
        if kept.status != "cancelled":
            raise ProblemError(ENDED, f"it is {kept.status}: its result stays where it is", evaluation=kept.status)
    return _answer(_standing(await _found(request, eval_id, principal)))


async def mistakes(request: Request, eval_id: uuid.UUID, principal: Caller) -> Response:
    """False positives and false negatives to read, at most 50 of each, chosen by the seed."""
    kept = await _found(request, eval_id, principal)
    return _answer(MistakesAnswer(**(kept.mistakes or {"false_positives": [], "false_negatives": []})))


async def events(request: Request, eval_id: uuid.UUID, principal: Caller) -> Response:
    """Server-sent events: each change of the status or of the count of judged samples, until the end.

    The stream ends with the time of a request; a client comes back by itself.
    """
    kept = await _found(request, eval_id, principal)
    service = _service(request)

    async def told() -> AsyncIterator[str]:
        yield "retry: 1000\n\n"
        last, now, until_s = None, kept, asyncio.get_running_loop().time() + request.app.state.answer_within_s
        while True:
            standing = _standing(now)
            if standing != last:
                last = standing
                yield f"event: {last.status}\ndata: {last.model_dump_json(exclude_none=True)}\n\n"
            if last.status in _ENDS or asyncio.get_running_loop().time() >= until_s:
                return
            await asyncio.sleep(_POLL_S)
            now = await service.find(eval_id, now.tenant_id) or now

    return StreamingResponse(told(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def _asked(request: Request, body: EvaluateBody, principal: Principal, key: uuid.UUID | None) -> Asked:
    if _service(request).costs_credits:
        # to ask is to spend: what a key may not do at the credits service it may not do by way of this one
        principal.require(Scope.CONSUME)
    _own(principal, body.tenant_id)
    try:
        return await _service(request).ask(body, key)
    except KeyReusedError as error:
        told = "this key was used for another question: send the same body again, or a new key for a new question"
        raise ProblemError(KEY_REUSED, told) from error
    except TaskError as error:
        raise ProblemError(WRONG_RULE, str(error), field=error.path, problem=error.problem) from error
    except FullError as error:
        told = "as many evaluations wait as can: ask again later"
        raise ProblemError(QUEUE_FULL, told, headers={"Retry-After": "5"}) from error
    except PaymentError as error:
        raise _unpaid(error) from error


def _unpaid(error: PaymentError) -> ProblemError:
    if isinstance(error, InsufficientCreditsError):
        # as the credits service says it
        told: dict[str, Any] = {"success": False, "error": INSUFFICIENT.title}
        return ProblemError(INSUFFICIENT, str(error), **told, available=error.available, required=error.required)
    if isinstance(error, BillingUnavailableError):
        return ProblemError(NOT_PAID, str(error), headers={"Retry-After": "5"})
    return ProblemError(UNKNOWN_TENANT, str(error))


async def _found(request: Request, eval_id: uuid.UUID, principal: Principal) -> Kept:
    kept = await _service(request).find(eval_id, principal.tenant_id)
    if kept is None:
        raise ProblemError(problems.NOT_FOUND, "there is no such evaluation of this key's tenant")
    return kept


def _standing(kept: Kept) -> Accepted:
    status, error = kept.status, kept.error
    if kept.lost and status not in _ENDS:
        status, error = "failed", "the process that worked on it is gone: ask again"
    return Accepted(
        eval_id=kept.eval_id,
        status=cast("Status", status),
        judged=kept.judged,
        samples=kept.samples,
        error=error,
        charge=_charge(kept),
    )


def _charge(kept: Kept) -> Charge | None:
    return None if kept.charge is None else Charge(state=kept.charge.value, credits=kept.credits)


def _completed(kept: Kept) -> EvaluationAnswer:
    answer: dict[str, Any] = kept.answer or {}
    told = answer["result"]
    matrix = told["matrix"]
    return EvaluationAnswer(
        eval_id=kept.eval_id,
        status="completed",
        true_positives=matrix["truePositives"],
        false_positives=matrix["falsePositives"],
        true_negatives=matrix["trueNegatives"],
        false_negatives=matrix["falseNegatives"],
        precision=told["precision"].get("value"),
        recall=told["recall"].get("value"),
        f1_score=told["f1"].get("value"),
        recommendations=told["recommendations"],
        execution_time_ms=answer["ms"],
        confidence_intervals={
            name: told[field]
            for name, field in (
                ("precision", "precision"),
                ("recall", "recall"),
                ("f1_score", "f1"),
                ("false_positive_rate", "falsePositiveRate"),
                ("precision_at_prevalence", "precisionAtPrevalence"),
            )
            if field in told
        },
        verdict=told["verdict"],
        reasons=told["reasons"],
        mcc=told.get("mcc"),
        errors=told["errors"],
        errors_by_reason=told["errorsByReason"],
        comparison=told.get("comparison"),
        seed=answer["seed"],
        dataset_digest=answer["datasetDigest"],
        engine=answer["engine"],
        cached=answer["cached"],
        charge=_charge(kept),
    )


def _accepted(asked: Asked) -> Response:
    where = {"Location": f"/shadow/results/{asked.eval_id}", **_told(asked)}
    return _answer(Accepted(eval_id=asked.eval_id, status=cast("Status", asked.status)), status=202, headers=where)


def _told(asked: Asked) -> dict[str, str]:
    return {"Idempotency-Replayed": "true"} if asked.replayed else {}


def _answer(body: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(body.model_dump_json(), status_code=status, media_type="application/json", headers=headers)


def answer_within_s(request_timeout_s: float) -> float:
    """When a question goes on without the one who asked: a second or a tenth is left to tell where its result is."""
    return max(request_timeout_s / 2, min(0.9 * request_timeout_s, request_timeout_s - 1))


def build_api(service: ShadowService | None, *, request_timeout_s: float = 30.0) -> FastAPI:
    """The API. Without a service it can only be described, not called."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.service = service
    app.state.answer_within_s = answer_within_s(request_timeout_s)
    app.exception_handler(ProblemError)(_answer_problem)
    app.exception_handler(RequestValidationError)(_answer_validation)
    app.exception_handler(HTTPException)(_answer_http)
    app.exception_handler(DatabaseUnavailableError)(_answer_failure)
    app.exception_handler(Exception)(_answer_failure)
    kind: dict[str, Any] = {"tags": ["shadow"]}
    missing = refusals(problems.NOT_FOUND)
    asked = (
        KEY_INVALID,
        KEY_REUSED,
        problems.NOT_FOUND,
        WRONG_RULE,
        QUEUE_FULL,
        INSUFFICIENT,
        UNKNOWN_TENANT,
        NOT_PAID,
    )
    asks = refusals(*asked)
    answers: dict[int | str, dict[str, Any]] = {
        **refusals(*asked, FAILED, CANCELLED),
        202: {"model": Accepted, "description": "Not answered in time: it goes on, and Location has its result."},
    }
    one = "/shadow/evaluations/{eval_id}"
    app.post(SAMPLES_PATH, response_model=IngestAnswer, responses=missing, **kind)(ingest)
    app.post("/shadow/evaluate", response_model=EvaluationAnswer, responses=answers, **kind)(evaluate)
    app.post("/shadow/evaluations", response_model=Accepted, status_code=202, responses=asks, **kind)(evaluate_later)
    app.get("/shadow/results/{eval_id}", response_model=EvaluationAnswer | Accepted, responses=missing, **kind)(result)
    app.delete(one, response_model=Accepted, responses=refusals(problems.NOT_FOUND, ENDED), **kind)(cancel)
    app.get(f"{one}/mistakes", response_model=MistakesAnswer, responses=missing, **kind)(mistakes)
    stream = {"description": "Events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
    app.get(f"{one}/events", response_class=StreamingResponse, responses={200: stream, **missing}, **kind)(events)
    return app


async def _answer_problem(_: Request, error: ProblemError) -> Response:
    return error.response()


async def _answer_validation(request: Request, error: RequestValidationError) -> Response:
    return problems.from_validation(request, error).response()


async def _answer_http(request: Request, error: HTTPException) -> Response:
    return problems.from_http(request, error).response()


async def _answer_failure(request: Request, error: Exception) -> Response:
    return failure(error, request.url.path)
