//! `ringpost backup FILE`: asks the running server for a backup and keeps it in a file.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail, ensure};

use super::archive::{Entry, Reader};

/// How long the server may take for the next byte.
const READ_DEADLINE: Duration = Duration::from_secs(60);

/// How long a server that is behind is asked again, and the pause between.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(500);

/// Longest head of an answer, bytes.
const HEAD_BYTES_MAX: u64 = 16 << 10;

/// Fetches a backup from the private port into a file that is not there yet, checks that it is
/// whole, and answers what it holds, for people.
///
/// # Errors
/// If the server does not give one, the file cannot be written, or what came is not whole; then there
/// is no file under that name.
pub fn fetch(admin: SocketAddr, token: &str, file: &Path) -> anyhow::Result<String> {
    ensure!(!file.exists(), "{} is there already; name a new file", file.display());
    let mut beside = file.as_os_str().to_owned();
    beside.push(".part");
    let beside = Path::new(&beside);
    let written = fetch_into(admin, token, beside);
    let checked = written.and_then(|()| check(beside));
    if checked.is_err() {
        // What came is no backup.
        let _ = std::fs::remove_file(beside);
    }
    let (rows, position) = checked?;
    std::fs::rename(beside, file)?;
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    ringpost_files::sync_dir(dir)?;
    let bytes = file.metadata()?.len();
    Ok(format!(
        "{}: {rows} rows, {bytes} bytes, all that was acknowledged when it was asked for (position \
         {position}). It holds the server's secrets: guard it as the data directory.",
        file.display()
    ))
}

fn fetch_into(admin: SocketAddr, token: &str, file: &Path) -> anyhow::Result<()> {
    // First of all: whoever names a place that is not there is not told of the server.
    let mut out = ringpost_files::create_afresh(file)?;
    let end = Instant::now() + PATIENCE;
    let mut body = loop {
        match ask(admin, token)? {
            (200, body) => break body,
            (503, _) if Instant::now() < end => std::thread::sleep(PAUSE),
            (401, _) => bail!(
                "the server at {admin} does not take this token: it was the one of admin.token_file \
                 or, where that is not set here, of the data directory; name the server's own file \
                 (--config FILE, or --set admin.token_file=FILE) and its --data-dir"
            ),
            (status, _) => bail!("the server at {admin} answered {status}"),
        }
    };
    std::io::copy(&mut body, &mut out).context("the backup broke off")?;
    out.sync_all()?;
    Ok(())
}

/// One request, by HTTP/1.0: the body ends with the connection, and the archive says whether it is
/// whole.
fn ask(admin: SocketAddr, token: &str) -> anyhow::Result<(u16, BufReader<TcpStream>)> {
    let stream = TcpStream::connect(reachable(admin))
        .with_context(|| format!("no server answers at {admin} (admin.listen)"))?;
    stream.set_read_timeout(Some(READ_DEADLINE))?;
    write!(
        &stream,
        "GET /admin/backup HTTP/1.0\r\nHost: {admin}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )?;
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    // Ends: with the head, or where it is longer than any.
    while !head.ends_with("\r\n\r\n") {
        let taken = (&mut stream).take(HEAD_BYTES_MAX).read_line(&mut head)?;
        ensure!(
            taken > 0 && (head.len() as u64) < HEAD_BYTES_MAX,
            "the server's answer is no HTTP"
        );
    }
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((status.ok_or_else(|| anyhow!("the server's answer is no HTTP"))?, stream))
}

/// Where a server is reached that listens everywhere.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Reads it to its end; answers how many rows it has, and up to which position.
fn check(file: &Path) -> anyhow::Result<(u64, u64)> {
    let file = ringpost_files::open_to_read(file, ringpost_files::Rule::Secret)?;
    let mut reader = Reader::new(BufReader::new(file))?;
    let mut rows = 0;
    loop {
        match reader.next_entry()? {
            Entry::Row(..) => rows += 1,
            Entry::File(..) => {}
            Entry::End(position) => return Ok((rows, position.0)),
        }
    }
}
