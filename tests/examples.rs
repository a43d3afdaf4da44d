//! The library's examples, run as programs.
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;

use coffre_tests::command::Machine;
use coffre_tests::content::noise;
use coffre_tests::s3::S3;

/// Where the built examples are.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let test = std::env::current_exe().unwrap();
        // target/<profile>/deps/<test> → target/<profile>/examples
        let folder = test.parent().unwrap().parent().unwrap().to_owned();
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        // With the features of the other tests, so that nothing is built twice.
        build.args(["build", "--quiet", "--workspace", "--examples"]);
        if folder.ends_with("release") {
            build.arg("--release");
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        assert!(build.current_dir(workspace).status().unwrap().success());
        folder.join("examples")
    })
}

fn example(machine: &Machine, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(built().join(name));
    command
        .args(arguments)
        .env("HOME", machine.dir.path())
        .env("XDG_STATE_HOME", machine.dir.path().join("xdg-state"))
        .env("XDG_CACHE_HOME", machine.dir.path().join("xdg-cache"));
    command
}

fn output(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    output.stdout
}

fn passphrase(machine: &Machine) -> String {
    machine.dir.path().join("passphrase").display().to_string()
}

#[test]
fn a_folder_goes_into_s3_and_a_range_comes_back() {
    let s3 = S3::start();
    let told = s3.told("example");
    let [address, key, secret] = told.lines().collect::<Vec<_>>()[..] else {
        panic!("{told}");
    };
    let machine = Machine::new();
    let folder = machine.dir.path().join("folder");
    std::fs::create_dir_all(folder.join("below")).unwrap();
    let content = noise(5_000_000, 1);
    std::fs::write(folder.join("below/large"), &content).unwrap();
    std::fs::write(folder.join("empty"), "").unwrap();
    let passphrase = passphrase(&machine);
    let in_s3 = |mut command: Command| {
        command
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret);
        output(command)
    };
    let folder = folder.display().to_string();
    let put = in_s3(example(
        &machine,
        "encrypt_folder",
        &[&folder, address, &passphrase],
    ));
    let put = String::from_utf8(put).unwrap();
    assert!(put.starts_with("2 files are in "), "{put}");
    let other = Machine::new();
    let arguments = [address, &passphrase, "/below/large", "1234567", "1000"];
    let range = in_s3(example(&other, "read_range", &arguments));
    assert!(range == content[1_234_567..1_235_567]);
}

#[test]
fn an_upload_shows_how_far_it_is() {
    let machine = Machine::new();
    let address = machine.dir.path().join("store").display().to_string();
    let (file, folder) = (
        machine.dir.path().join("film"),
        machine.dir.path().join("folder"),
    );
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(&file, noise(40_000_000, 2)).unwrap();
    let (file, folder) = (file.display().to_string(), folder.display().to_string());
    let passphrase = passphrase(&machine);
    output(example(
        &machine,
        "encrypt_folder",
        &[&folder, &address, &passphrase],
    ));
    let told = output(example(
        &machine,
        "upload_progress",
        &[&file, &address, &passphrase],
    ));
    let told = String::from_utf8(told).unwrap();
    assert!(told.ends_with("everything is in the store\n"), "{told}");
    let arguments = [address.as_str(), &passphrase, "/film", "39999999", "10"];
    let last = output(example(&machine, "read_range", &arguments));
    assert_eq!(last, noise(40_000_000, 2)[39_999_999..]);
}

#[test]
fn the_readme_shows_a_program_that_runs() {
    let shown = &shown("rust")[0];
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let program = root.join("crates/coffre/examples/readme.rs");
    let program = std::fs::read_to_string(program).unwrap();
    let bare = |text: &str| {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        lines.join("\n")
    };
    assert!(bare(&program).contains(bare(shown).trim()), "they differ");

    let machine = Machine::new();
    let address = machine.dir.path().join("store").display().to_string();
    let folder = machine.dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("film.mkv"), noise(500_000, 3)).unwrap();
    let folder = folder.display().to_string();
    let put = [folder.as_str(), &address, &passphrase(&machine)];
    output(example(&machine, "encrypt_folder", &put));
    let told = output(example(&machine, "readme", &[&address]));
    assert_eq!(told, b"500000 bytes\n");
}

/// The blocks of the README in one language.
fn shown(language: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let begin = format!("```{language}\n");
    let blocks = readme.split(&begin).skip(1);
    let ends = |block: &str| block.split("```").next().unwrap().to_owned();
    blocks.map(ends).collect()
}

#[test]
fn the_readme_shows_commands_that_run() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    std::fs::write(Path::new(&machine.folder("reports")).join("may"), "sealed").unwrap();
    let blocks = shown("sh");
    let commands = blocks
        .iter()
        .find(|block| block.starts_with("coffre put"))
        .unwrap();
    // As a person types them, with the command in the path and the passphrase at hand.
    let usual = machine.command(&[]);
    let command = Path::new(usual.get_program()).parent().unwrap().to_owned();
    let path = format!("{}:{}", command.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("bash");
    shell
        .args(["-euc", commands])
        .current_dir(machine.dir.path())
        .envs(
            usual
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .envs([("PATH", &path), ("VAULT", &vault)]);
    output(shell);
    let restored = machine.dir.path().join("restored/may");
    assert_eq!(std::fs::read(restored).unwrap(), b"sealed");
}

#[test]
fn the_readme_shows_a_profile_that_is_understood() {
    let machine = Machine::new();
    let vault = machine.init("vault");
    let [profile] = &shown("toml")[..] else {
        panic!("one block was expected");
    };
    let address = "s3://my-bucket/coffre?region=eu-west-3";
    assert!(profile.contains(address), "{profile}");
    let command = "secret-tool lookup coffre cloud";
    assert!(profile.contains(command), "{profile}");
    let config = Path::new(&machine.folder("config")).join("coffre");
    std::fs::create_dir(&config).unwrap();
    let ours = profile
        .replace(address, &vault)
        .replace(command, &format!("cat {}", machine.path("passphrase")));
    // A folder has no options.
    let (ours, _) = ours.split_once("[profile.cloud.options]").unwrap();
    std::fs::write(config.join("config.toml"), ours).unwrap();
    let mut listed = machine.command(&["ls", "cloud"]);
    listed.env_remove("COFFRE_PASSPHRASE_FILE");
    output(listed);
}

#[test]
fn a_service_shares_one_vault_among_its_requests() {
    let machine = Machine::new();
    let address = machine.dir.path().join("store").display().to_string();
    let folder = machine.dir.path().join("folder");
    std::fs::create_dir(&folder).unwrap();
    let passphrase = passphrase(&machine);
    let folder = folder.display().to_string();
    output(example(
        &machine,
        "encrypt_folder",
        &[&folder, &address, &passphrase],
    ));
    let arguments = [address.as_str(), &passphrase, "127.0.0.1:0"];
    let mut service = example(&machine, "share_with_axum", &arguments)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(service.stdout.take().unwrap()).lines();
    let listening = told.next().unwrap().unwrap();
    let at = listening.strip_prefix("listening on ").unwrap();
    let content = noise(1_000_000, 3);
    let clients: Vec<_> = (0..4)
        .map(|client| {
            let (at, content) = (at.to_owned(), content.clone());
            std::thread::spawn(move || {
                let path = format!("/client/{client}/file");
                assert!(ask(&at, "PUT", &path, &content).0.contains(" 204 "));
                let (head, body) = ask(&at, "GET", &path, b"");
                assert!(head.contains(" 200 "), "{head}");
                // Sent in chunks: the lengths between them are left out.
                assert!(body.len() >= content.len(), "{} bytes", body.len());
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    let (head, body) = ask(at, "GET", "/none", b"");
    assert!(head.contains(" 404 "), "{head}");
    assert_eq!(body, b"none: no such file or directory");
    let id = rustix::process::Pid::from_child(&service);
    rustix::process::kill_process(id, rustix::process::Signal::INT).unwrap();
    assert_eq!(told.next().unwrap().unwrap(), "everything is in the store");
    assert!(service.wait().unwrap().success());
    let arguments = [
        address.as_str(),
        &passphrase,
        "/client/3/file",
        "0",
        "9999999",
    ];
    let found = output(example(&machine, "read_range", &arguments));
    assert!(found == content);
}

/// One request; head and body of the answer.
fn ask(at: &str, method: &str, path: &str, content: &[u8]) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(at).unwrap();
    let length = content.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(content).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    (head, answer.split_off(end + 4))
}
