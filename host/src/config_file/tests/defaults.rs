//! What a file means that makes no mistake: the defaults of DESIGN §11, and every key said.

use super::*;

#[test]
fn an_empty_file_has_every_default() {
    let folder = Folder::new(&[("demo/hotshoe.toml", "")]);
    let file = folder.path("demo/hotshoe.toml");
    let config = load(&file).config.unwrap();
    assert!(config.is_empty());
    let expected = Config {
        folder: folder.path("demo"),
        file,
        host: HostConfig {
            name: "demo".to_owned(),
            plugin_path: Vec::new(),
            admin: Admin::Unix,
            hostname: None,
            resources: BTreeMap::new(),
        },
        executors: ExecutorsConfig {
            count: 1,
            max_restarts: 3,
            drain: Duration::from_secs(5),
            resources: BTreeMap::new(),
        },
        stream: None,
        trust: TrustConfig {
            keys: Vec::new(),
            require: Require::None,
        },
        plugins: Vec::new(),
        absent: Vec::new(),
    };
    assert_eq!(config, expected);
}

#[test]
fn an_empty_stream_and_a_bare_entry_have_every_default() {
    let folder = Folder::new(&[("hotshoe.toml", "[stream]\n[[plugin]]\nlibrary = \"x\"")]);
    let config = folder.load().config.unwrap();
    assert!(!config.is_empty());
    let place = |line, column| Place {
        file: folder.path("hotshoe.toml"),
        line,
        column,
    };
    let stream = StreamConfig {
        source: Source::Stdin,
        on_source_end: OnSourceEnd::Stop,
        processors: Vec::new(),
        batch_records: 1024,
        batch_bytes: 65_536,
        record_max: 16_777_216,
        retries: 3,
        on_error: OnError::Stop,
        sink: Sink::Stdout,
        at: place(1, 1),
    };
    assert_eq!(config.stream, Some(stream));
    let seconds = Duration::from_secs;
    let [entry] = config.plugins.as_slice() else {
        panic!("one entry")
    };
    let PluginEntry { settings, .. } = entry;
    assert_eq!(settings.to_value(), json!({}));
    assert_eq!(settings.place("/port"), Some(place(2, 1)));
    let expected = PluginEntry {
        name: None,
        library: Library::Named("x".to_owned()),
        library_text: "x".to_owned(),
        library_at: place(3, 11),
        required: true,
        after: Vec::new(),
        init_attempts: 1,
        checks: Vec::new(),
        deadlines: Deadlines {
            load: seconds(10),
            init: seconds(10),
            receive: seconds(10),
            hook: seconds(1),
            process: seconds(30),
            check: seconds(1),
            shutdown: seconds(5),
        },
        isolation: Isolation::InProcess,
        restart: Restart {
            attempts: 5,
            within: seconds(300),
            backoff: Duration::from_millis(100),
            backoff_max: seconds(60),
        },
        sandbox: Sandbox::None,
        limits: Limits::default(),
        stage: Stage::Memfd,
        allow_writable: false,
        settings: settings.clone(),
        at: place(2, 1),
    };
    assert_eq!(*entry, expected);
    assert_eq!(Deadlines::default(), expected.deadlines);
    assert_eq!(Restart::default(), expected.restart);
}

#[test]
fn the_listing_of_the_design_says_what_is_the_default_anyway() {
    let spelled_out = config(DESIGN);
    let left_out = config(
        "[host]\nname = \"hotshoe\"\nhostname = \"box\"\n[stream]\nprocessors = [\"append\"]\n[[plugin]]\nname = \
         \"append\"\nlibrary = \"hotshoe_quickstart\"\nsettings.topic = \"dynamic-config\"",
    );
    assert_eq!(spelled_out.host, left_out.host);
    assert_eq!(spelled_out.executors, left_out.executors);
    assert_eq!(spelled_out.trust, left_out.trust);
    // Places apart, which differ with the files.
    let plain = |config: &Config| {
        let mut entry = config.plugins[0].clone();
        entry.at = Place {
            file: PathBuf::new(),
            line: 0,
            column: 0,
        };
        entry.library_at = entry.at.clone();
        let settings = std::mem::take(&mut entry.settings).to_value();
        let mut stream = config.stream.clone().unwrap();
        stream.at = entry.at.clone();
        stream.processors[0].at = entry.at.clone();
        (entry, settings, stream)
    };
    assert_eq!(plain(&spelled_out), plain(&left_out));
}

#[test]
fn every_key_is_taken() {
    let folder = Folder::new(&[(
        "hotshoe.toml",
        r#"
        [host]
        name = " edge.1 "
        plugin_path = ["plugins", "/opt/plugins"]
        admin = "[::1]:0"
        hostname = "::1"
        resources = { gpu = ["5", "6"] }
        [executors]
        count = 1024
        max_restarts = 0
        drain = "0s"
        resources.gpu = ["3"]
        [stream]
        source = "tcp-connect:localhost:9998"
        processors = [" a "]
        batch_records = 65_536
        batch_bytes = 1024
        record_max = "1GiB"
        retries = 0
        on_error = "dead-letter"
        dead_letter = "failed/dead.jsonl"
        sink = "file:out.txt"
        [[plugin]]
        name = "a"
        library = "./libs/liba.so"
        required = false
        after = ["b"]
        init_attempts = 100
        checks = ["topic"]
        deadlines = { init = "1ms" }
        stage = "directory"
        allow_writable = true
    "#,
    )]);
    let config = folder.load().config.unwrap();
    assert_eq!(config.host.name, "edge.1");
    assert_eq!(
        config.host.plugin_path,
        [folder.path("plugins"), PathBuf::from("/opt/plugins")]
    );
    assert_eq!(config.host.admin, Admin::Tcp("[::1]:0".parse().unwrap()));
    assert_eq!(config.host.hostname.as_deref(), Some("::1"));
    assert_eq!(config.host.resources["gpu"], ["5", "6"]);
    assert_eq!(
        (config.executors.count, config.executors.max_restarts),
        (1024, 0)
    );
    assert_eq!(config.executors.drain, Duration::ZERO);
    assert_eq!(config.executors.resources["gpu"], ["3"]);
    let stream = config.stream.unwrap();
    assert_eq!(
        stream.source,
        Source::TcpConnect("localhost:9998".to_owned())
    );
    assert_eq!(stream.processors[0].value, "a");
    assert_eq!(
        (stream.batch_records, stream.batch_bytes, stream.record_max),
        (65_536, 1024, 1 << 30)
    );
    assert_eq!(stream.retries, 0);
    assert_eq!(
        stream.on_error,
        OnError::DeadLetter(folder.path("failed/dead.jsonl"))
    );
    assert_eq!(stream.sink, Sink::File(folder.path("out.txt")));
    let entry = &config.plugins[0];
    assert_eq!(entry.library, Library::Path(folder.path("./libs/liba.so")));
    assert!(!entry.required && entry.allow_writable);
    assert_eq!(
        (
            entry.after[0].value.as_str(),
            entry.checks[0].value.as_str()
        ),
        ("b", "topic")
    );
    assert_eq!(entry.init_attempts, 100);
    assert_eq!(entry.deadlines.init, Duration::from_millis(1));
    assert_eq!(entry.stage, Stage::Directory);
}

#[test]
fn sources_are_told_apart() {
    let source = |text: &str| {
        config(&format!("[stream]\nsource = \"{text}\""))
            .stream
            .unwrap()
            .source
    };
    assert_eq!(source("stdin"), Source::Stdin);
    assert_eq!(
        source("tcp-listen:127.0.0.1:0"),
        Source::TcpListen("127.0.0.1:0".parse().unwrap())
    );
    assert_eq!(
        source("tcp-connect:[::1]:9998"),
        Source::TcpConnect("[::1]:9998".to_owned())
    );
    assert_eq!(
        source("tcp-connect:a-b.example:1"),
        Source::TcpConnect("a-b.example:1".to_owned())
    );
    assert!(matches!(source("file:/in.txt"), Source::File(path) if path == Path::new("/in.txt")));
    for written in [
        "stdin",
        "tcp-connect:localhost:1",
        "tcp-listen:[::1]:1",
        "file:/in.txt",
    ] {
        assert_eq!(source(written).to_string(), written);
    }
}

#[test]
fn a_host_without_a_name_is_called_after_its_file() {
    let check = |file: &str, name: &str| {
        let folder = Folder::new(&[(file, "")]);
        assert_eq!(
            load(&folder.path(file)).config.unwrap().host.name,
            name,
            "{file}"
        );
    };
    check("edge/hotshoe.toml", "edge");
    check("edge/site.toml", "site");
    check("edge/site.v2.toml", "site.v2");
    check("My Edge/hotshoe.toml", "my-edge");
    check("_x_/hotshoe.toml", "x");
    check("___/hotshoe.toml", "hotshoe");
    check("edge/Größe.toml", "gr--e");
    check(&format!("edge/{}.toml", "x".repeat(80)), &"x".repeat(64));
}
