//! The server's side of one SMTP connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::stream::Stream;
use super::{Mail, SinkReply, SmtpSinkOptions};

/// Longest line, in octets.
const LINE_MAX: u64 = 64 * 1024;
/// Largest message, in octets.
const MESSAGE_MAX: usize = 32 * 1024 * 1024;

/// A connection and where it is.
struct Dialogue<'a> {
    reader: BufReader<Stream>,
    /// Replies that wait until the client waits for them (RFC 2920, 3.2).
    replies: Vec<u8>,
    options: &'a SmtpSinkOptions,
    authenticated: bool,
    sender: Option<String>,
    recipients: Vec<String>,
}

/// What to do after a command.
enum Next {
    Go,
    StartTls,
    Quit,
}

/// Speaks until the client quits or the socket fails. Counts the mails taken in `arrived`.
pub(super) fn run(
    socket: TcpStream,
    options: &SmtpSinkOptions,
    arrived: &AtomicU64,
) -> io::Result<()> {
    let stream = match &options.tls {
        Some(tls) if tls.implicit => Stream::secure(socket, &tls.config)?,
        _ => Stream::Plain(socket),
    };
    let mut dialogue = Dialogue {
        reader: BufReader::new(stream),
        replies: Vec::new(),
        options,
        authenticated: options.credentials.is_none(),
        sender: None,
        recipients: Vec::new(),
    };
    dialogue.say(220, "sink.example.com ESMTP");
    while let Some(line) = dialogue.line()? {
        match dialogue.command(&line, arrived)? {
            Next::Go => (),
            Next::StartTls => dialogue = dialogue.start_tls()?,
            Next::Quit => {
                dialogue.say(221, "2.0.0 bye");
                return dialogue.flush();
            }
        }
    }
    Ok(())
}

impl Dialogue<'_> {
    fn say(&mut self, code: u16, text: &str) {
        self.replies.extend_from_slice(format!("{code} {text}\r\n").as_bytes());
    }

    fn flush(&mut self) -> io::Result<()> {
        let stream = self.reader.get_mut();
        stream.write_all(&self.replies)?;
        self.replies.clear();
        stream.flush()
    }

    /// The next line without its end; `None` at the end of the connection.
    fn line(&mut self) -> io::Result<Option<String>> {
        let mut octets = Vec::new();
        self.read_line(&mut octets)?;
        let line = String::from_utf8_lossy(&octets);
        Ok((!octets.is_empty()).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    fn read_line(&mut self, octets: &mut Vec<u8>) -> io::Result<()> {
        if self.reader.buffer().is_empty() {
            self.flush()?;
        }
        (&mut self.reader).take(LINE_MAX).read_until(b'\n', octets)?;
        Ok(())
    }

    fn command(&mut self, line: &str, arrived: &AtomicU64) -> io::Result<Next> {
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "EHLO" => self.ehlo(),
            "HELO" => self.say(250, "sink.example.com"),
            "STARTTLS" if self.offers_starttls() => {
                self.say(220, "2.0.0 go ahead");
                return Ok(Next::StartTls);
            }
            "AUTH" => self.authenticate(argument)?,
            "MAIL" => self.mail(argument),
            "RCPT" => self.rcpt(argument),
            "DATA" if self.recipients.is_empty() => self.say(503, "5.5.1 no valid recipient"),
            "DATA" => self.data(arrived)?,
            "RSET" => {
                self.reset();
                self.say(250, "2.0.0 ok");
            }
            "NOOP" => self.say(250, "2.0.0 ok"),
            "QUIT" => return Ok(Next::Quit),
            _ => self.say(500, "5.5.2 unknown command"),
        }
        Ok(Next::Go)
    }

    fn offers_starttls(&self) -> bool {
        self.options.tls.is_some() && matches!(self.reader.get_ref(), Stream::Plain(_))
    }

    fn ehlo(&mut self) {
        self.reset();
        let size = format!("SIZE {MESSAGE_MAX}");
        let mut lines =
            vec!["sink.example.com", "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"];
        lines.push(&size);
        if self.offers_starttls() {
            lines.push("STARTTLS");
        }
        if self.options.credentials.is_some() && !self.offers_starttls() {
            lines.push("AUTH PLAIN LOGIN");
        }
        for (idx, line) in lines.iter().enumerate() {
            let mark = if idx + 1 == lines.len() { ' ' } else { '-' };
            self.replies.extend_from_slice(format!("250{mark}{line}\r\n").as_bytes());
        }
    }

    /// What was said in clear is forgotten (RFC 3207, 4.2).
    fn start_tls(mut self) -> io::Result<Self> {
        self.flush()?;
        let (Some(tls), Stream::Plain(socket)) = (&self.options.tls, self.reader.into_inner())
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let reader = BufReader::new(Stream::secure(socket, &tls.config)?);
        Ok(Self { reader, sender: None, recipients: Vec::new(), ..self })
    }

    fn authenticate(&mut self, argument: &str) -> io::Result<()> {
        let (mechanism, initial) = argument.split_once(' ').unwrap_or((argument, ""));
        let given = match mechanism.to_ascii_uppercase().as_str() {
            "PLAIN" => {
                let answer =
                    if initial.is_empty() { self.challenge("")? } else { initial.to_owned() };
                let text = decode(&answer);
                text.split_once('\0').and_then(|(_, pair)| {
                    pair.split_once('\0').map(|(user, password)| (user.into(), password.into()))
                })
            }
            "LOGIN" => {
                let user = self.challenge("VXNlcm5hbWU6")?;
                let password = self.challenge("UGFzc3dvcmQ6")?;
                Some((decode(&user), decode(&password)))
            }
            _ => {
                self.say(504, "5.5.4 unknown mechanism");
                return Ok(());
            }
        };
        if given.is_some() && given == self.options.credentials {
            self.authenticated = true;
            self.say(235, "2.7.0 welcome");
        } else {
            self.say(535, "5.7.8 credentials are not right");
        }
        Ok(())
    }

    fn challenge(&mut self, text: &str) -> io::Result<String> {
        self.say(334, text);
        Ok(self.line()?.unwrap_or_default())
    }

    fn mail(&mut self, argument: &str) {
        match path(argument, "FROM:") {
            _ if !self.authenticated => self.say(530, "5.7.0 authenticate first"),
            _ if self.sender.is_some() => self.say(503, "5.5.1 sender already given"),
            Some(sender) => {
                self.sender = Some(sender.to_owned());
                self.say(250, "2.1.0 ok");
            }
            None => self.say(501, "5.5.4 MAIL FROM:<address>"),
        }
    }

    fn rcpt(&mut self, argument: &str) {
        match path(argument, "TO:") {
            _ if self.sender.is_none() => self.say(503, "5.5.1 no sender"),
            Some(recipient) => {
                let reply = (self.options.recipient)(recipient);
                if reply.is_positive() {
                    self.recipients.push(recipient.to_owned());
                }
                self.say(reply.code, &reply.text);
            }
            None => self.say(501, "5.5.4 RCPT TO:<address>"),
        }
    }

    fn data(&mut self, arrived: &AtomicU64) -> io::Result<()> {
        self.say(354, "go ahead");
        let raw = self.message()?;
        let sender = self.sender.take().unwrap_or_default();
        let mail = Mail { sender, recipients: std::mem::take(&mut self.recipients), raw };
        let reply = if mail.raw.len() <= MESSAGE_MAX {
            (self.options.mail)(&mail)
        } else {
            SinkReply::new(552, "5.3.4 too large")
        };
        if reply.is_positive() {
            arrived.fetch_add(1, Ordering::Relaxed);
        }
        self.say(reply.code, &reply.text);
        Ok(())
    }

    /// Reads to the final dot. What is too large is read on, but not kept.
    fn message(&mut self) -> io::Result<Vec<u8>> {
        let mut raw = Vec::with_capacity(8 * 1024);
        loop {
            let begin = raw.len();
            self.read_line(&mut raw)?;
            match &raw[begin..] {
                [] => return Err(io::ErrorKind::UnexpectedEof.into()),
                b".\r\n" => {
                    raw.truncate(begin);
                    return Ok(raw);
                }
                [b'.', ..] => drop(raw.remove(begin)),
                _ => (),
            }
            if MESSAGE_MAX < begin {
                raw.truncate(MESSAGE_MAX + 1);
            }
        }
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }
}

/// The address in `FROM:<address> PARAMETERS`.
fn path<'a>(argument: &'a str, keyword: &str) -> Option<&'a str> {
    let (head, rest) = argument.split_at_checked(keyword.len())?;
    let inner = rest.trim_start().strip_prefix('<')?;
    let (address, _) = inner.rsplit_once('>')?;
    head.eq_ignore_ascii_case(keyword).then_some(address)
}

fn decode(text: &str) -> String {
    let octets = STANDARD.decode(text).unwrap_or_default();
    String::from_utf8_lossy(&octets).into_owned()
}
