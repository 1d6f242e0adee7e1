"""A bundle made from a database holds for the verifier that stands alone, and gives away only what was asked for."""

import json
import zipfile

import pytest

from audit.bundle.export import BundleExport, BundleOrder, NothingSignedError
from audit.ports import AuditIntegrityError
from audit.record import Kind
from audit.signing import SigningKeys
from audit.verify import parse_keys, verify_bundle
from gateway.database import make_engine
from tests.contract.audit.conftest import MASTER
from tests.contract.audit.sequenced import fill, sequence
from tests.contract.audit.turns import accepted, entry


@pytest.fixture
def keys(tmp_path):
    return tmp_path / "signing"


@pytest.fixture
async def engine(database):
    engine = make_engine(database)
    yield engine
    await engine.dispose()


@pytest.fixture
def export(engine, keys):
    def export():
        return BundleExport(engine, SigningKeys(keys).load_or_create(), MASTER)

    return export


def verify(path, *outside: str):
    found = []
    kept = [(f"kept-{at}", note.encode()) for at, note in enumerate(outside)]
    summary = verify_bundle(path, found.append, None, kept)
    return summary, [(one.code, one.record, one.last) for one in found]


async def places(*which: int):
    for place in which:
        yield place


async def notes(raw) -> list[str]:
    return [note for (note,) in await raw.run("SELECT note FROM audit_checkpoint ORDER BY tree_size")]


@pytest.mark.parametrize("name", ["whole", "whole.zip"])
@pytest.mark.parametrize("texts", [True, False])
async def test_the_whole_log(database, keys, export, tmp_path, raw, name, texts):
    await fill(database, keys, 120, batch=37)
    receipt = await export().write(tmp_path / name, BundleOrder(texts=texts))
    assert (receipt.records, receipt.tree_size) == (360, 360)
    summary, found = verify(tmp_path / name, *await notes(raw))
    assert found == []
    assert (summary.records, summary.texts, summary.checkpoints) == (360, 480 if texts else 0, 10)
    assert sorted(path.name for path in tmp_path.iterdir() if name in path.name) == [name]


async def test_chosen_records(database, keys, export, tmp_path, raw):
    await fill(database, keys, 200, batch=150)
    order = BundleOrder(texts=True, continues=(300,))
    receipt = await export().write(tmp_path / "b.zip", order, places(0, 5, 255, 256, 599, 600, 9999))
    assert (receipt.records, receipt.tree_size) == (5, 600)
    summary, found = verify(tmp_path / "b.zip", (await notes(raw))[1])
    assert found == []
    assert summary.texts == 1 + 2 + 1 + 1 + 2
    assert verify(tmp_path / "b.zip", (await notes(raw))[2])[1] == [("consistency", None, None)]
    await export().write(tmp_path / "many", BundleOrder(), places(*range(0, 600, 2)))
    assert verify(tmp_path / "many")[1] == []
    await export().write(tmp_path / "none", BundleOrder(), places())
    assert verify(tmp_path / "none")[1] == []


async def test_chosen_records_continue_what_was_anchored(database, keys, export, tmp_path, raw):
    await fill(database, keys, 100, batch=70)
    await raw.run("INSERT INTO anchor (place, tree_size, at_us, receipt) VALUES ('file', 140, 1, 'x')")
    await export().write(tmp_path / "b", BundleOrder(), places(3))
    kept = await notes(raw)
    assert verify(tmp_path / "b", kept[0], kept[1], kept[-1])[1] == []
    assert verify(tmp_path / "b", kept[2])[1] == [("consistency", None, None)]


async def test_texts_are_those_that_were_written(log, database, keys, export, tmp_path):
    evil = "half \ud800 and whole 🙂 \x1b[2J"
    await log.append(accepted(message=evil, name="n\ud800"))
    await sequence(database, keys)
    await export().write(tmp_path / "b", BundleOrder(texts=True))
    assert verify(tmp_path / "b")[1] == []
    text = json.loads((tmp_path / "b" / "contents.ndjson").read_bytes())
    assert (text["text"], text["name"]) == (evil, "message")


async def test_erased_texts_stay_away(database, keys, export, tmp_path, raw):
    await fill(database, keys, 10)
    await raw.run("UPDATE subject_key SET wrapped = NULL, destroyed_us = 1 WHERE subject = 'p3'")
    await export().write(tmp_path / "b", BundleOrder(texts=True))
    summary, found = verify(tmp_path / "b")
    assert (found, summary.texts) == ([], 32)


async def test_pruned_records_come_with_the_record_that_says_so(log, database, keys, export, tmp_path, raw):
    await fill(database, keys, 10)
    await log.append(entry(Kind.RETENTION_PRUNED, "", "system", detail={"first": 0, "last": 2, "count": 3}))
    await sequence(database, keys)
    await fill(database, keys, 10, prefix="later")
    await raw.disarm()
    empty = "x''" if raw.sqlite else "''"
    await raw.run(f"UPDATE audit_entry SET leaf = {empty}, subject = '', turn_id = '' WHERE leaf_index < 3")
    for at, chosen in enumerate([(0,), (1, 50), (2, 30), (1, 30, 31)]):
        receipt = await export().write(tmp_path / f"b{at}", BundleOrder(texts=True), places(*chosen))
        assert receipt.records == len({*chosen, 30})
        assert verify(tmp_path / f"b{at}")[1] == []
    await export().write(tmp_path / "whole.zip", BundleOrder(texts=True))
    assert verify(tmp_path / "whole.zip")[1] == []


async def test_what_is_there_is_not_written_over(database, keys, export, tmp_path):
    await fill(database, keys, 5)
    for name in ("b.zip", "b"):
        await export().write(tmp_path / name, BundleOrder())
        with pytest.raises(OSError, match=r"exist|not empty"):
            await export().write(tmp_path / name, BundleOrder())
        assert verify(tmp_path / name)[1] == []
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".b")]


async def test_nothing_signed_and_altered_texts_are_clear_errors(log, database, keys, export, tmp_path, raw):
    await log.append(accepted())
    with pytest.raises(NothingSignedError):
        await export().write(tmp_path / "b.zip", BundleOrder())
    await sequence(database, keys)
    await raw.disarm()
    await raw.run("UPDATE audit_content SET sealed = wrapped_key")
    with pytest.raises(AuditIntegrityError, match="text 0 of record"):
        await export().write(tmp_path / "b.zip", BundleOrder(texts=True))
    assert list(tmp_path.glob("*b*.zip")) == []


async def test_a_zip_file_says_nothing_of_the_machine(database, keys, export, tmp_path):
    await fill(database, keys, 5)
    await export().write(tmp_path / "b.zip", BundleOrder())
    with zipfile.ZipFile(tmp_path / "b.zip") as packed:
        assert {one.date_time for one in packed.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    keys_given = parse_keys(str(SigningKeys(keys).load().known[0]).encode())
    assert verify_bundle(tmp_path / "b.zip", print, keys_given, []).keys_given
