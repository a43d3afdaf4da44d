"""Programs that read and write ``coffre://`` through fsspec, and that the store shows nothing of what they wrote."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

import coffre
from coffre.fsspec import CoffreFileSystem

PHRASE = "correct horse battery staple"

Options = dict[str, Any]


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Options]:
    folder = tmp_path_factory.mktemp("vault")
    store, state, phrase = folder / "store", folder / "state", folder / "phrase"
    coffre.init(str(store), passphrase=PHRASE, state_dir=str(state), light_kdf=True)
    phrase.write_text(PHRASE)
    options = {"vault": str(store), "passphrase_file": str(phrase), "state_dir": str(state)}
    yield options
    fsspec.filesystem("coffre", **options).close()


@pytest.fixture
def fs(where: Options) -> CoffreFileSystem:
    return fsspec.filesystem("coffre", **where)


def is_sealed(fs: CoffreFileSystem, folder: str, *words: str) -> None:
    """The words, of content and of names, are in a folder of the vault as they stand, and nowhere in its store."""
    found = fs.find(folder)
    plain = [path.encode() for path in found] + [fs.cat_file(path) for path in found]
    fs.vault.publish()
    stored = [path for path in Path(fs.storage_options["vault"]).rglob("*") if path.is_file()]
    sealed = [str(path).encode() for path in stored] + [path.read_bytes() for path in stored]
    assert len(sealed) > 2
    for word in map(str.encode, words):
        assert any(word in part for part in plain), word
        assert not any(word in part for part in sealed), word


# pandas


@pytest.fixture
def frame() -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame(
        {
            "patient_name": [f"Wilhelmina {number}" for number in range(1000)],
            "blood_pressure": [number / 8 for number in range(1000)],
        }
    )


def test_pandas_keeps_parquet(where: Options, fs: CoffreFileSystem, frame: Any) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    url = "coffre://pandas/parquet/clinic-visits.parquet"
    frame.to_parquet(url, storage_options=where, compression=None)
    pandas.testing.assert_frame_equal(pandas.read_parquet(url, storage_options=where), frame)
    names = pandas.read_parquet(url, storage_options=where, columns=["patient_name"])
    assert names.shape == (1000, 1)
    assert names.patient_name[999] == "Wilhelmina 999"
    is_sealed(fs, "/pandas/parquet", "clinic-visits", "patient_name", "blood_pressure", "Wilhelmina 7")


def test_pandas_keeps_a_partitioned_dataset(where: Options, fs: CoffreFileSystem, frame: Any) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    url = "coffre://pandas/dataset"
    frame["hospital_ward"] = frame.index % 4
    frame.to_parquet(url, storage_options=where, partition_cols=["hospital_ward"], compression=None)
    found = pandas.read_parquet(url, storage_options=where, filters=[("hospital_ward", "==", 3)])
    assert sorted(found.blood_pressure) == [number / 8 for number in range(3, 1000, 4)]
    is_sealed(fs, "/pandas/dataset", "hospital_ward=3", "Wilhelmina 3")


@pytest.mark.parametrize("name", ["clinic-visits.csv", "clinic-visits.csv.gz"])
def test_pandas_keeps_csv(where: Options, fs: CoffreFileSystem, frame: Any, name: str) -> None:
    pandas = pytest.importorskip("pandas")
    packed = name.endswith(".gz")
    url = f"coffre://pandas/{name.partition('.')[2]}/{name}"
    frame.to_csv(url, storage_options=where, index=False)
    assert (fs.head(url, 2) == b"\x1f\x8b") is packed
    pandas.testing.assert_frame_equal(pandas.read_csv(url, storage_options=where), frame)
    words = [] if packed else ["patient_name", "blood_pressure", "Wilhelmina 7"]
    is_sealed(fs, fs._parent(url), "clinic-visits", *words)


# pyarrow


def test_pyarrow_keeps_a_partitioned_dataset(fs: CoffreFileSystem) -> None:
    pa = pytest.importorskip("pyarrow")
    ds = pytest.importorskip("pyarrow.dataset")
    from pyarrow.fs import FSSpecHandler, PyFileSystem

    files = PyFileSystem(FSSpecHandler(fs))
    table = pa.table(
        {
            "ledger_year": [2021 + number % 3 for number in range(900)],
            "account_holder": [f"Balthazar {number}" for number in range(900)],
            "cents": list(range(900)),
        }
    )
    parquet = ds.ParquetFileFormat()
    for flavor in ("hive", None):
        years = ds.partitioning(pa.schema([("ledger_year", pa.int64())]), flavor=flavor)
        folder = f"/arrow/ledgers {flavor}"
        ds.write_dataset(
            table,
            folder,
            format=parquet,
            file_options=parquet.make_write_options(compression="none"),
            partitioning=years,
            filesystem=files,
        )
        dataset = ds.dataset(folder, format="parquet", partitioning=years, filesystem=files)
        assert len(dataset.files) == 3
        wanted = (ds.field("ledger_year") == 2022) & (ds.field("cents") >= 890)
        found = dataset.to_table(filter=wanted, columns=["account_holder", "cents", "ledger_year"])
        assert sorted(found.to_pylist(), key=lambda row: row["cents"]) == [
            {"account_holder": f"Balthazar {number}", "cents": number, "ledger_year": 2022}
            for number in (892, 895, 898)
        ]
        assert dataset.count_rows() == 900
    is_sealed(fs, "/arrow", "ledgers", "ledger_year=2022", "account_holder", "Balthazar 11")


def test_pyarrow_reads_some_columns_and_no_more_of_a_file(fs: CoffreFileSystem) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    wide = {f"sensor_{letter}": [f"{letter}{number}" for number in range(50_000)] for letter in "abcdefgh"}
    pq.write_table(pa.table(wide), "/columns/wide.parquet", filesystem=fs, compression="none", use_dictionary=False)
    with fs.open("/columns/wide.parquet", "rb") as file:
        counted = Counted(file)
        found = pq.read_table(counted, columns=["sensor_g"], pre_buffer=False)
        assert found.column_names == ["sensor_g"]
        assert found["sensor_g"].to_pylist() == wide["sensor_g"]
        assert 0 < counted.taken < file.size / 4
    is_sealed(fs, "/columns", "wide.parquet", "sensor_g", "g49999")


class Counted:
    """A file that counts what is read of it."""

    closed = False

    def __init__(self, file: Any) -> None:
        self._file = file
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        content: bytes = self._file.read(size)
        self.taken += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False


def test_pyarrow_moves_copies_and_removes(fs: CoffreFileSystem) -> None:
    pytest.importorskip("pyarrow")
    from pyarrow.fs import FileSelector, FileType, FSSpecHandler, PyFileSystem

    files = PyFileSystem(FSSpecHandler(fs))
    with files.open_output_stream("/names/a/one") as stream:
        stream.write(b"1")
    with files.open_append_stream("/names/a/one") as stream:
        stream.write(b"2")
    files.copy_file("/names/a/one", "/names/a/two")
    files.move("/names/a", "/names/b")
    files.create_dir("/names/c/d", recursive=True)
    found = {info.path: (info.type, info.size) for info in files.get_file_info(FileSelector("/names", recursive=True))}
    assert found == {
        "/names/b": (FileType.Directory, None),
        "/names/b/one": (FileType.File, 2),
        "/names/b/two": (FileType.File, 2),
        "/names/c": (FileType.Directory, None),
        "/names/c/d": (FileType.Directory, None),
    }
    files.delete_file("/names/b/one")
    files.delete_dir("/names/c")
    files.delete_dir_contents("/names/b")
    assert [info.path for info in files.get_file_info(FileSelector("/names", recursive=True))] == ["/names/b"]
    assert files.get_file_info("/names/b/one").type == FileType.NotFound


# DuckDB


def test_duckdb_queries_and_writes(fs: CoffreFileSystem) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as database:
        database.register_filesystem(fs)
        for part in range(3):
            database.execute(
                f"""COPY (SELECT range + {part * 1000} AS invoice_number, 'Evangelista ' || range AS debtor
                    FROM range(1000)) TO 'coffre://duck/parts/invoices-{part}.parquet' (COMPRESSION uncompressed)"""
            )
        query = "SELECT count(*), sum(invoice_number), max(debtor) FROM read_parquet('coffre://duck/parts/*.parquet')"
        assert database.sql(query).fetchall() == [(3000, 2999 * 1500, "Evangelista 999")]
        query = "SELECT debtor FROM 'coffre://duck/parts/invoices-1.parquet' WHERE invoice_number = 1042"
        assert database.sql(query).fetchall() == [("Evangelista 42",)]

        database.execute(
            """COPY (SELECT range AS invoice_number, range % 2 AS overdue FROM range(10))
               TO 'coffre://duck/by' (FORMAT parquet, PARTITION_BY (overdue))"""
        )
        query = """SELECT overdue, sum(invoice_number) FROM
                   read_parquet('coffre://duck/by/**/*.parquet', hive_partitioning = true) GROUP BY ALL ORDER BY ALL"""
        assert database.sql(query).fetchall() == [(0, 20), (1, 25)]

        database.execute("COPY (SELECT 'Evangelista' AS debtor, 7 AS owes) TO 'coffre://duck/csv/debtors.csv'")
        assert fs.cat("/duck/csv/debtors.csv") == b"debtor,owes\nEvangelista,7\n"
        assert database.sql("SELECT owes FROM 'coffre://duck/csv/debtors.csv'").fetchall() == [(7,)]
    is_sealed(fs, "/duck", "invoices-1", "invoice_number", "debtor", "Evangelista", "overdue=1")


def test_a_file_that_duckdb_fails_to_write_leaves_the_old_content(fs: CoffreFileSystem) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as database:
        database.register_filesystem(fs)
        database.execute("COPY (SELECT 1 AS old) TO 'coffre://fails/a.parquet'")
        with pytest.raises(duckdb.Error, match="enough"):
            database.execute(
                """COPY (SELECT CASE WHEN range > 490000 THEN error('enough') ELSE range::VARCHAR END AS new
                   FROM range(500000)) TO 'coffre://fails/a.parquet'"""
            )
        assert database.sql("SELECT * FROM 'coffre://fails/a.parquet'").fetchall() == [(1,)]
    assert fs.find("/fails") == ["/fails/a.parquet"]


# zarr


def test_zarr_keeps_arrays_in_chunks(where: Options, fs: CoffreFileSystem) -> None:
    zarr = pytest.importorskip("zarr")
    numpy = pytest.importorskip("numpy")
    from zarr.storage import FsspecStore

    url = "coffre://zarr/cellar.zarr"
    values = numpy.arange(100 * 60, dtype="i4").reshape(100, 60)
    store = FsspecStore.from_url(url, storage_options=where)
    array = zarr.create_array(
        store=store,
        shape=values.shape,
        chunks=(10, 20),
        dtype="i4",
        compressors=None,
        attributes={"winemaker": "Hippolyte"},
    )
    array[:] = values
    store.close()
    assert len(fs.glob("/zarr/cellar.zarr/c/*/*")) == 10 * 3

    again = zarr.open_array(url, mode="r", storage_options=where)
    assert again.shape == (100, 60)
    assert again.attrs["winemaker"] == "Hippolyte"
    assert numpy.array_equal(again[35:52, 18:41], values[35:52, 18:41])
    assert int(again[99, 59]) == 5999
    again.store.close()

    # Only the chunk that changes is written anew.
    array = zarr.open_array(url, mode="r+", storage_options=where)
    array[5, 5] = -1
    values[5, 5] = -1
    assert numpy.array_equal(array[:], values)
    array.store.close()
    assert values[:10, :20].tobytes() == fs.cat("/zarr/cellar.zarr/c/0/0")
    is_sealed(fs, "/zarr", "cellar.zarr", "winemaker", "Hippolyte")


def test_zarr_replaces_an_array(where: Options, fs: CoffreFileSystem) -> None:
    zarr = pytest.importorskip("zarr")
    numpy = pytest.importorskip("numpy")
    url = "coffre://replaced/a.zarr"
    for shape in ((40,), (10,)):
        array = zarr.create_array(url, shape=shape, chunks=(10,), dtype="i4", overwrite=True, storage_options=where)
        array[:] = numpy.ones(shape, dtype="i4")
        array.store.close()
    assert fs.find("/replaced") == ["/replaced/a.zarr/c/0", "/replaced/a.zarr/zarr.json"]
