//! What programs do with a vault through OpenDAL: Parquet through `object_store`, and WebDAV for clients that know nothing of
//! it.
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::ops::Range;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;

use arrow_array::Float64Array;
use arrow_array::Int64Array;
use arrow_array::RecordBatch;
use arrow_array::StringArray;
use arrow_array::cast::AsArray;
use arrow_array::types::Float64Type;
use bytes::Bytes;
use coffre::Filesystem;
use coffre_tests::content::noise;
use coffre_tests::programs::has;
use coffre_tests::world::World;
use futures::FutureExt;
use futures::TryFutureExt;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use object_store::ObjectStore;
use object_store::ObjectStoreExt;
use object_store::PutMode;
use object_store::buffered::BufWriter;
use object_store::path::Path as ObjectPath;
use object_store_opendal::OpendalStore;
use parquet::arrow::AsyncArrowWriter;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::ParquetError;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::metadata::ParquetMetaDataReader;
use parquet::file::properties::WriterProperties;

async fn vault(world: &World) -> (Filesystem, opendal::Operator) {
    world.create("a").await;
    let files = Filesystem::of(world.files("a").await);
    let operator = coffre_opendal::operator(files.clone()).unwrap();
    (files, operator)
}

/// A Parquet file in an object store, as the `parquet` crate reads one.
struct Table {
    store: Arc<dyn ObjectStore>,
    path: ObjectPath,
    size: u64,
}

impl AsyncFileReader for Table {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        let failed = |error| ParquetError::External(Box::new(error));
        self.store
            .get_range(&self.path, range)
            .map_err(failed)
            .boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let size = self.size;
        let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        async move { reader.load_and_finish(self, size).await.map(Arc::new) }.boxed()
    }
}

const ROWS: i64 = 200_000;

fn rows(from: i64, count: i64) -> RecordBatch {
    let numbers: Vec<i64> = (from..from + count).collect();
    let halves = numbers.iter().map(|number| *number as f64 / 2.0);
    let words = numbers.iter().map(|number| format!("word {}", number % 97));
    RecordBatch::try_from_iter([
        ("number", Arc::new(Int64Array::from(numbers.clone())) as _),
        (
            "half",
            Arc::new(Float64Array::from_iter_values(halves)) as _,
        ),
        ("word", Arc::new(StringArray::from_iter_values(words)) as _),
    ])
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn parquet_is_written_and_read_column_by_column() {
    let world = World::local();
    let (files, operator) = vault(&world).await;
    let store: Arc<dyn ObjectStore> = Arc::new(OpendalStore::new(operator));
    let path = ObjectPath::from("tables/year=2026/part.parquet");

    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(50_000))
        .build();
    let into = BufWriter::new(store.clone(), path.clone());
    let schema = rows(0, 1).schema();
    let mut writer = AsyncArrowWriter::try_new(into, schema, Some(properties)).unwrap();
    for from in (0..ROWS).step_by(10_000) {
        writer.write(&rows(from, 10_000)).await.unwrap();
        let begun = files.exists("tables/year=2026/part.parquet").await.unwrap();
        assert!(!begun, "half a table shows");
    }
    writer.close().await.unwrap();
    files.publish().await.unwrap();

    let found = store.head(&path).await.unwrap();
    assert!(found.size > 1_000_000, "{}", found.size);
    let reader = Table {
        store: store.clone(),
        path: path.clone(),
        size: found.size,
    };
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.unwrap();
    assert_eq!(builder.metadata().num_row_groups(), 4);
    let column = ProjectionMask::columns(builder.parquet_schema(), ["half"]);
    let stream = builder
        .with_projection(column)
        .with_row_groups(vec![2])
        .build()
        .unwrap();
    let batches: Vec<RecordBatch> = stream.try_collect().await.unwrap();
    let values: Vec<f64> = batches
        .iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Float64Type>()
                .values()
                .to_vec()
        })
        .collect();
    let expected: Vec<f64> = (100_000..150_000)
        .map(|number| f64::from(number) / 2.0)
        .collect();
    assert_eq!(values, expected);

    // What else `object_store` promises.
    let listed: Vec<_> = store
        .list(Some(&ObjectPath::from("tables")))
        .try_collect()
        .await
        .unwrap();
    // It shows folders as objects, whatever service has them.
    let listed = listed
        .iter()
        .find(|listed| listed.location == path)
        .unwrap();
    assert_eq!(listed.e_tag, found.e_tag);
    let create = PutMode::Create.into();
    let again = store.put_opts(&path, "x".into(), create).await.unwrap_err();
    assert!(
        matches!(again, object_store::Error::AlreadyExists { .. }),
        "{again}"
    );
    store
        .copy(&path, &ObjectPath::from("copy.parquet"))
        .await
        .unwrap();
    store.delete(&path).await.unwrap();
    let gone = store.head(&path).await.unwrap_err();
    assert!(
        matches!(gone, object_store::Error::NotFound { .. }),
        "{gone}"
    );
    assert_eq!(
        store
            .head(&ObjectPath::from("copy.parquet"))
            .await
            .unwrap()
            .size,
        found.size
    );
}

/// A WebDAV server on a port of its own, as long as the runtime lives.
async fn serve(operator: opendal::Operator) -> String {
    let handler = dav_server::DavHandler::builder()
        .filesystem(dav_server_opendalfs::OpendalFs::new(operator))
        .locksystem(dav_server::fakels::FakeLs::new())
        .build_handler();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let handler = handler.clone();
            let answer = hyper::service::service_fn(move |request| {
                let handler = handler.clone();
                async move { Ok::<_, std::convert::Infallible>(handler.handle(request).await) }
            });
            let connection = hyper_util::rt::TokioIo::new(connection);
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(connection, answer);
            tokio::spawn(async move { drop(served.await) });
        }
    });
    format!("http://{address}/")
}

async fn run(mut command: Command, input: &'static str) -> Output {
    let done = tokio::task::spawn_blocking(move || {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap()
    });
    done.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webdav_client_works_in_a_vault() {
    if !has("cadaver") {
        println!("skipped: cadaver is not installed");
        return;
    }
    let world = World::local();
    let (files, operator) = vault(&world).await;
    files.write("/from the vault.txt", "sealed").await.unwrap();
    let address = serve(operator).await;
    let here = tempfile::tempdir().unwrap();
    let content = noise(3_000_000, 1);
    std::fs::write(here.path().join("film.mkv"), &content).unwrap();
    std::fs::write(here.path().join("été.txt"), "accent").unwrap();

    let mut cadaver = Command::new("cadaver");
    cadaver
        .arg(&address)
        .current_dir(here.path())
        .env("HOME", here.path());
    let script = "\
mkcol films
cd films
put film.mkv
put été.txt
copy film.mkv copy.mkv
move copy.mkv moved.mkv
cd /
ls
mkcol empty
rmcol empty
get \"from the vault.txt\" back.txt
get films/moved.mkv moved.mkv
delete films/été.txt
bye
";
    let output = run(cadaver, script).await;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!told.contains("failed"), "{told}");
    assert!(told.contains("from the vault.txt"), "{told}");
    assert_eq!(
        std::fs::read(here.path().join("back.txt")).unwrap(),
        b"sealed"
    );
    assert_eq!(
        std::fs::read(here.path().join("moved.mkv")).unwrap(),
        content
    );

    assert_eq!(files.read("/films/film.mkv").await.unwrap(), content);
    let all: Vec<_> = files.walk("/").await.unwrap().try_collect().await.unwrap();
    let mut all: Vec<_> = all
        .iter()
        .map(|entry| entry.path.display().to_string())
        .collect();
    all.sort();
    assert_eq!(
        all,
        [
            "/films",
            "/films/film.mkv",
            "/films/moved.mkv",
            "/from the vault.txt"
        ]
    );
}

/// OpenDAL renames files alone, and the server between it and the client keeps to that.
const NOT_OFFERED: [&str; 3] = ["copy_overwrite", "move", "move_coll"];

/// The suite that judges WebDAV servers; what it asks of properties and locks is not the vault's to answer.
#[tokio::test(flavor = "multi_thread")]
async fn litmus_finds_no_fault_but_folders_that_move() {
    if !has("litmus") {
        println!("skipped: litmus is not installed");
        return;
    }
    let world = World::local();
    let (_files, operator) = vault(&world).await;
    let address = serve(operator).await;
    let here = tempfile::tempdir().unwrap();
    let mut litmus = Command::new("litmus");
    litmus
        .arg("--keep-going")
        .arg(&address)
        .current_dir(here.path());
    litmus.env("TESTS", "basic copymove http");
    let output = run(litmus, "").await;
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    for suite in ["basic", "copymove", "http"] {
        let summary = format!("<- summary for `{suite}'");
        assert!(told.contains(&summary), "no {suite}: {told}");
    }
    let failed = told.lines().filter(|line| line.contains(" FAIL "));
    // "\r 9. move.................. FAIL (why)"
    let failed = failed.filter_map(|line| {
        line.rsplit('\r')
            .next()?
            .split_once(". ")?
            .1
            .split_once('.')
    });
    let failed: Vec<&str> = failed.map(|(name, _)| name).collect();
    assert_eq!(failed, NOT_OFFERED, "{told}");
}
