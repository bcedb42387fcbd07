//! The programs in `examples/from_tokio`: each does the same on tokio and on egret, and little differs between the two files.

#[path = "../examples/from_tokio/chat/after.rs"]
mod chat_after;
#[path = "../examples/from_tokio/chat/before.rs"]
mod chat_before;
#[path = "../examples/from_tokio/http/after.rs"]
mod http_after;
#[path = "../examples/from_tokio/http/before.rs"]
mod http_before;
#[path = "support/program.rs"]
mod program;
#[path = "../examples/from_tokio/proxy/after.rs"]
mod proxy_after;
#[path = "../examples/from_tokio/proxy/before.rs"]
mod proxy_before;
#[path = "support/watchdog.rs"]
mod watchdog;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;

use program::Program;
use watchdog::Watchdog;

/// All that may differ besides `use` lines: what it is called there, and here.
const NAMES: [(&str, &str); 5] = [
    ("#[tokio::main]", "#[egret::main]"),
    ("tokio::spawn(", "egret::spawn("),
    ("TokioExecutor", "EgretExecutor"),
    ("TokioIo", "HyperIo"),
    ("TokioTimer", "EgretTimer"),
];

/// A program without its `use` lines, and what those lines name. None of them is longer than a line.
fn parts(source: &str) -> (Vec<&str>, BTreeSet<&str>) {
    let (uses, rest): (Vec<_>, _) = source.lines().partition(|line| line.starts_with("use "));
    assert!(uses.iter().all(|line| line.ends_with(';')));
    (rest, uses.into_iter().collect())
}

#[test]
fn imports_and_a_few_names_are_all_that_differs() {
    for (program, before, after) in [
        (
            "http",
            include_str!("../examples/from_tokio/http/before.rs"),
            include_str!("../examples/from_tokio/http/after.rs"),
        ),
        (
            "chat",
            include_str!("../examples/from_tokio/chat/before.rs"),
            include_str!("../examples/from_tokio/chat/after.rs"),
        ),
        (
            "proxy",
            include_str!("../examples/from_tokio/proxy/before.rs"),
            include_str!("../examples/from_tokio/proxy/after.rs"),
        ),
    ] {
        let moved = NAMES.iter().fold(before.to_owned(), |text, (there, here)| text.replace(there, here));
        let ((moved, _), (found, _)) = (parts(&moved), parts(after));
        assert_eq!(moved, found, "{program}");

        // What is gone of the imports is tokio's, what has come is egret's, and of tokio's only what needs no runtime is left.
        let ((_, there), (_, here)) = (parts(before), parts(after));
        let no_runtime = ["use tokio::io::", "use tokio::sync::"];
        for line in there.difference(&here) {
            assert!(line.starts_with("use tokio::") || line.contains("::rt::{Tokio"), "{program}: {line}");
        }
        for line in here.difference(&there) {
            let ours = line.starts_with("use egret::") || line.starts_with(no_runtime[0]);
            assert!(ours, "{program}: {line}");
        }
        let left = here.iter().filter(|line| line.starts_with("use tokio"));
        for line in left {
            assert!(no_runtime.iter().any(|kept| line.starts_with(kept)), "{program}: {line}");
        }
    }
}

/// Runs the same script against both.
fn both(name: &str, variables: &[(&str, &str)], script: impl Fn(Program)) {
    let _watchdog = Watchdog::start();
    for time in ["before", "after"] {
        eprintln!("-- {time}");
        let variables = [&[("LISTEN", "127.0.0.1:0")], variables].concat();
        script(Program::start_test(&format!("program_{name}_{time}"), name, &variables));
    }
}

/// One that talks and listens in lines.
struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(stream) }
    }

    fn say(&mut self, text: &str) {
        self.reader.get_mut().write_all(format!("{text}\n").as_bytes()).unwrap();
    }

    #[track_caller]
    fn hears(&mut self, expected: &str) {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        assert_eq!(line, format!("{expected}\n"));
    }

    /// Says nothing more; hears the end.
    #[track_caller]
    fn ends(mut self) {
        self.reader.get_ref().shutdown(Shutdown::Write).unwrap();
        self.hears_the_end();
    }

    #[track_caller]
    fn hears_the_end(&mut self) {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

/// A listener, and its address.
fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// Serves each connection in a thread of its own; the first error ends both.
fn served(serve: fn(TcpStream) -> std::io::Result<()>) -> String {
    let (listener, address) = listener();
    thread::spawn(move || {
        listener
            .incoming()
            .try_for_each(|stream| stream.map(|stream| drop(thread::spawn(move || serve(stream)))))
    });
    address
}

#[test]
fn the_page_tells_how_each_backend_is() {
    // One answers, one refuses, one takes the connection (the kernel does) and says nothing, one is nonsense.
    let good = served(|stream| {
        let mut lines = BufReader::new(&stream).lines();
        while !lines.next().transpose()?.unwrap_or_default().is_empty() {}
        (&stream).write_all(b"HTTP/1.1 418 I'm a teapot\r\ncontent-length: 0\r\n\r\n")
    });
    let (silent, silent_address) = listener();
    let (closed, closed_address) = listener();
    drop(closed);
    let backends =
        [&good, &closed_address, &silent_address, "nowhere"].map(|address: &str| address.to_owned());
    both("http", &[("BACKENDS", &backends.join(","))], |program| {
        let mut client = Client::connect(&program.greeting);
        // Twice over one connection, and what is not there in between.
        for path in ["/", "/elsewhere", "/"] {
            client.say(&format!("GET {path} HTTP/1.1\r\nhost: page\r\n\r"));
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                assert!(client.reader.read_line(&mut line).unwrap() > 0, "{head:?}");
                match line.trim_end() {
                    "" => break,
                    line => head.push(line.to_ascii_lowercase()),
                }
            }
            let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            client.reader.read_exact(&mut body).unwrap();
            let body = String::from_utf8(body).unwrap();
            if path == "/elsewhere" {
                assert_eq!((head[0].as_str(), body.as_str()), ("http/1.1 404 not found", "nothing here\n"));
                continue;
            }
            assert_eq!(head[0], "http/1.1 200 ok");
            let lines: Vec<&str> = body.lines().collect();
            assert_eq!(lines.len(), backends.len(), "{body}");
            assert_eq!(lines[0], format!("{good}: 418 I'm a teapot"));
            assert!(
                lines[1].starts_with(&format!("{closed_address}: ")) && lines[1].contains("refused"),
                "{body}"
            );
            assert_eq!(lines[2], format!("{silent_address}: deadline has elapsed"));
            assert!(lines[3].starts_with("nowhere: ") && lines[3].len() > "nowhere: ".len(), "{body}");
        }
    });
    drop(silent);
}

#[test]
fn what_one_says_all_others_hear() {
    both("chat", &[], |program| {
        let join = |name: &str| {
            let mut client = Client::connect(&program.greeting);
            client.say(name);
            client.hears(&format!("* welcome, {name}"));
            client
        };
        let mut anna = join("anna");
        let mut bert = join("bert");
        anna.hears("* bert is here");
        let mut cleo = join("cleo");
        anna.hears("* cleo is here");
        bert.hears("* cleo is here");
        for n in 0..100 {
            anna.say(&format!("line {n}"));
        }
        for n in 0..100 {
            bert.hears(&format!("anna: line {n}"));
            cleo.hears(&format!("anna: line {n}"));
        }
        bert.ends();
        anna.hears("* bert has left");
        cleo.say("just us");
        anna.hears("cleo: just us");
    });
}

/// Sends back what it hears.
fn echo() -> String {
    served(|stream| std::io::copy(&mut &stream, &mut &stream).map(drop))
}

#[test]
fn the_proxy_passes_on_what_it_hears_and_lets_it_come_to_its_end() {
    both("proxy", &[("TARGET", &echo())], |mut program| {
        let mut first = Client::connect(&program.greeting);
        let mut second = Client::connect(&program.greeting);
        for n in 0..10 {
            first.say(&format!("first {n}"));
            second.say(&format!("second {n}"));
            first.hears(&format!("first {n}"));
            second.hears(&format!("second {n}"));
        }
        second.ends();
        assert!(program.line().ends_with(": 90 bytes up, 90 down"));
        program.interrupt();
        assert_eq!(program.line(), "proxy: 1 connections are open");
        // The port is closed, the connection goes on.
        assert!(TcpStream::connect(&program.greeting).is_err());
        first.say("still here");
        first.hears("still here");
        first.ends();
        assert!(program.line().ends_with(": 91 bytes up, 91 down"));
        assert!(program.end().success());
    });
}

#[test]
fn the_proxys_limits_end_what_goes_on_for_too_long() {
    let (closed, address) = listener();
    drop(closed);
    both("proxy", &[("TARGET", &address)], |mut program| {
        Client::connect(&program.greeting).hears_the_end();
        assert!(program.line().contains("refused"));
    });
    both("proxy", &[("TARGET", &echo()), ("LIMIT_MS", "100")], |mut program| {
        Client::connect(&program.greeting).hears_the_end();
        assert!(program.line().ends_with(": deadline has elapsed"));
    });
    both("proxy", &[("TARGET", &echo()), ("GRACE_MS", "100")], |mut program| {
        let mut client = Client::connect(&program.greeting);
        client.say("hello");
        client.hears("hello");
        program.interrupt();
        assert_eq!(program.line(), "proxy: 1 connections are open");
        assert_eq!(program.line(), "proxy: 1 connections are cut off");
        assert!(program.end().success());
    });
}

/// A program: an ignored test, which `both` starts.
macro_rules! programs {
    ($($name:ident: $module:ident;)*) => {$(
        #[test]
        #[ignore = "a program, for the test that starts it"]
        fn $name() {
            // Not when all ignored tests are run.
            if std::env::var_os("LISTEN").is_some() {
                let _watchdog = Watchdog::start();
                $module::main().unwrap();
            }
        }
    )*};
}

programs! {
    program_http_before: http_before;
    program_http_after: http_after;
    program_chat_before: chat_before;
    program_chat_after: chat_after;
    program_proxy_before: proxy_before;
    program_proxy_after: proxy_after;
}
