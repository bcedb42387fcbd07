//! What the harness's own clients send, and what has to come back.

/// A GET of `path`, and the whole of its answer: the servers echo the request's head.
pub(crate) fn exchange(path: &str) -> (Vec<u8>, Vec<u8>) {
    let echo = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    let length = echo.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{echo}");
    (format!("{echo}\r\n").into_bytes(), answer.into_bytes())
}

#[cfg(test)]
mod tests {
    use egret_benches::codec::Codec;

    #[test]
    fn the_codec_answers_as_expected() {
        let (request, expected) = super::exchange("/a");
        let mut output = Vec::new();
        let step = Codec::new().advance(&request, &mut output);
        assert_eq!((step.consumed, step.served, step.close), (request.len(), 1, false));
        assert_eq!(String::from_utf8_lossy(&output), String::from_utf8_lossy(&expected));
    }
}
