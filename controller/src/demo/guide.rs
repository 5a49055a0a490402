//! What the demo says on standard output: where things are, and lines to paste into another terminal.

use super::manifests::TLS_HOST;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
};

/// Renders with `Display`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guide<'a> {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) manifests: &'a Path,
    pub(crate) authority: &'a Path,
    pub(crate) pods: usize,
    /// The `serve` command line that does the same.
    pub(crate) command: &'a str,
}

/// The address at which a client on this machine reaches a listener.
pub(crate) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

// === impl Guide ===

impl fmt::Display for Guide<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [http, https, admin] = [self.http, self.https, self.admin].map(reachable);
        let (manifests, ca) = (self.manifests.display(), quote_path(self.authority));
        let curl =
            |host: &str, address: SocketAddr| format!("--resolve {host}:{}:{}", address.port(), ip(address.ip()));
        let (hp, sp) = (http.port(), https.port());
        writeln!(
            f,
            "rust-nginx serves {} sample pods on this machine. Ctrl-C ends it and removes its files.",
            self.pods
        )?;
        writeln!(f)?;
        writeln!(f, "  manifests   {manifests}   edit, add or delete: live at once")?;
        writeln!(f, "  authority   {}   signs {TLS_HOST}", self.authority.display())?;
        writeln!(f, "  admin       http://{admin}/readyz   /metrics   /debug/table")?;
        writeln!(f, "  the same    {}", self.command)?;
        writeln!(f)?;
        writeln!(f, "Try in another terminal:")?;
        writeln!(f)?;
        let mut step = |what: &str, lines: &[String]| {
            writeln!(f, "  # {what}")?;
            lines.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            writeln!(f)
        };
        let hello = curl("hello.localhost", http);
        let (shop, shop_tls) = (curl(TLS_HOST, http), curl(TLS_HOST, https));
        step(
            "a pod of Service web answers with what it received; again, and the next one does",
            &[format!("curl {hello} http://hello.localhost:{hp}/")],
        )?;
        step("a host with TLS redirects to HTTPS", &[format!("curl -i {shop} http://{TLS_HOST}:{hp}/cart")])?;
        step(
            "HTTPS with HTTP/2; the path /api belongs to Service api",
            &[
                format!("curl --cacert {ca} {shop_tls} https://{TLS_HOST}:{sp}/"),
                format!("curl --cacert {ca} {shop_tls} https://{TLS_HOST}:{sp}/api/orders"),
            ],
        )?;
        step(
            "change the routing",
            &[
                format!(
                    "sed -i.bak s/hello.localhost/hi.localhost/ {}",
                    quote_path(&self.manifests.join("ingress.yaml"))
                ),
                format!("curl {} http://hi.localhost:{hp}/", curl("hi.localhost", http)),
            ],
        )?;
        step(
            "a page with a WebSocket, for browsers (they resolve *.localhost by themselves)",
            &[format!("http://api.localhost:{hp}/")],
        )
    }
}

/// An address as `curl --resolve` takes it.
fn ip(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// One word for a shell.
pub(crate) fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn quote_path(path: &Path) -> String {
    quote(&path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::{Guide, quote};
    use std::path::Path;

    #[test]
    fn lines_can_be_pasted() {
        let guide = Guide {
            http: "0.0.0.0:8080".parse().unwrap(),
            https: "[::]:8443".parse().unwrap(),
            admin: "127.0.0.1:10254".parse().unwrap(),
            manifests: Path::new("/home/a b/manifests"),
            authority: Path::new("/home/a b/ca.crt"),
            pods: 5,
            command: "rust-nginx serve",
        };
        let text = guide.to_string();
        for line in [
            "curl --resolve hello.localhost:8080:127.0.0.1 http://hello.localhost:8080/",
            "curl --cacert '/home/a b/ca.crt' --resolve shop.localhost:8443:[::1] https://shop.localhost:8443/",
            "sed -i.bak s/hello.localhost/hi.localhost/ '/home/a b/manifests/ingress.yaml'",
        ] {
            assert!(text.contains(&format!("\n  {line}\n")), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn quotes_survive_a_shell() {
        assert_eq!(quote("/home/x-1/ca.crt"), "/home/x-1/ca.crt");
        assert_eq!(quote("/it's"), r"'/it'\''s'");
    }
}
