use super::*;

fn variables(http: &str, https: &str, all: &str, no: &str) -> ProxyVariables {
    ProxyVariables { http: http.into(), https: https.into(), all: all.into(), no_proxy: no.into() }
}

/// Returns the host of the proxy for a backend, given these variables.
fn proxy_host(backend: &str, choice: &ProxyChoice, variables: &ProxyVariables) -> Option<String> {
    let backend = BaseUrl::parse(backend).unwrap();
    let proxy = choice.resolve(&backend, || SystemProxies::from_variables(variables.clone())).unwrap();
    proxy.map(|proxy| proxy.endpoint().host_name())
}

#[test]
fn environment_proxy_is_chosen_by_scheme() {
    let both = variables("http://plain.example", "http://tls.example", "http://all.example", "");
    let rest = variables("", "http://tls.example", "http://all.example", "");
    let used = |backend, variables| proxy_host(backend, &ProxyChoice::System, variables);
    for backend in ["http://b.example", "http://b.example:8000/base"] {
        assert_eq!(used(backend, &both).as_deref(), Some("plain.example"));
        assert_eq!(used(backend, &rest).as_deref(), Some("all.example"));
    }
    for backend in ["https://b.example", "https://b.example/base"] {
        assert_eq!(used(backend, &both).as_deref(), Some("tls.example"));
    }
    assert_eq!(used("http://b.example", &ProxyVariables::default()), None);
}

#[test]
fn no_proxy_excludes_names_domains_and_networks() {
    let spared = variables("", "", "http://all.example", "b.example, 10.0.0.0/8,192.0.2.7");
    for backend in
        ["http://b.example", "https://sub.B.example:8443", "http://10.1.2.3:8000", "http://192.0.2.7"]
    {
        assert_eq!(proxy_host(backend, &ProxyChoice::System, &spared), None, "{backend}");
    }
    for backend in ["http://notb.example", "http://11.0.0.1", "http://192.0.2.8"] {
        assert!(proxy_host(backend, &ProxyChoice::System, &spared).is_some(), "{backend}");
    }
    let all_spared = variables("", "", "http://all.example", "*");
    assert_eq!(proxy_host("https://b.example", &ProxyChoice::System, &all_spared), None);
}

#[test]
fn loopback_backend_uses_only_an_explicit_proxy() {
    let system = variables("", "", "http://all.example", "");
    let named = ProxyChoice::Explicit(Proxy::parse("http://named.example").unwrap());
    for host in ["localhost", "LOCALHOST", "app.localhost", "localhost.", "127.3.2.1", "127.1", "[::1]"] {
        let backend = format!("http://{host}:8000");
        assert_eq!(proxy_host(&backend, &ProxyChoice::System, &system), None, "{host}");
        assert_eq!(proxy_host(&backend, &named, &system).as_deref(), Some("named.example"), "{host}");
    }
    for host in ["localhost.example", "10.0.0.1", "[::2]"] {
        assert!(proxy_host(&format!("http://{host}"), &ProxyChoice::System, &system).is_some(), "{host}");
    }
}

#[test]
fn explicit_and_direct_override_the_system() {
    let system = variables("", "", "http://all.example", "*");
    let named = ProxyChoice::Explicit(Proxy::parse("socks5://named.example").unwrap());
    assert_eq!(proxy_host("https://b.example", &named, &system).as_deref(), Some("named.example"));
    let system = variables("", "", "http://all.example", "");
    assert_eq!(proxy_host("https://b.example", &ProxyChoice::Direct, &system), None);
}

#[test]
fn system_socks4_proxy_is_an_error() {
    let backend = BaseUrl::parse("http://b.example").unwrap();
    for url in ["socks4://old.example", "socks4a://old.example:1080"] {
        let system = || SystemProxies::from_variables(variables("", "", url, ""));
        assert_eq!(ProxyChoice::System.resolve(&backend, system), Err(UnsupportedProxy));
    }
}

#[test]
fn proxy_url_gets_the_default_port_of_its_scheme() {
    let read = |url| {
        let proxy = Proxy::parse(url).unwrap();
        (proxy.scheme(), proxy.endpoint().host_name(), proxy.endpoint().port)
    };
    use ProxyScheme::*;
    assert_eq!(read("http://proxy.example"), (Http, "proxy.example".into(), 80));
    assert_eq!(read("HTTPS://proxy.example/"), (Https, "proxy.example".into(), 443));
    assert_eq!(read("socks5://[::1]"), (Socks5, "::1".into(), 1080));
    assert_eq!(read("socks5://proxy.example:80"), (Socks5, "proxy.example".into(), 80));
    assert_eq!(read("socks5h://127.1:9050"), (Socks5h, "127.0.0.1".into(), 9050));
    assert_eq!(read("http://user:pass@proxy.example:3128"), (Http, "proxy.example".into(), 3128));
}

#[test]
fn invalid_proxy_url_gives_its_rule() {
    use ProxyUrlError::*;
    for (url, error) in [
        ("", Scheme),
        ("proxy.example:3128", Scheme),
        ("ftp://proxy.example", Scheme),
        ("socks4://proxy.example", Scheme),
        ("http://", HostOrPort),
        ("http://:3128", HostOrPort),
        ("http://proxy.example:", HostOrPort),
        ("http://proxy.example:0", HostOrPort),
        ("http://proxy.example:65536", HostOrPort),
        ("http://proxy.example:+80", HostOrPort),
        ("http://pro xy", HostOrPort),
        ("http://[::1", HostOrPort),
        ("http:/proxy.example", HostOrPort),
        ("socks5://pro xy", HostOrPort),
        ("socks5:proxy.example", Scheme),
        ("http://proxy.example/path", Path),
        ("http://proxy.example?x", Path),
        ("http://user:p@ss@proxy.example", Credentials),
        ("http://us er:pass@proxy.example", Credentials),
    ] {
        assert_eq!(Proxy::parse(url), Err(error), "{url}");
    }
}

#[test]
fn credentials_are_decoded_and_every_form_is_secret() {
    let http = Proxy::parse("http://user:p%40ss@proxy.example").unwrap();
    assert_eq!(http.authorization().unwrap(), "Basic dXNlcjpwQHNz");
    assert_eq!(http.secrets(), ["dXNlcjpwQHNz", "p%40ss", "p@ss"]);
    let socks = Proxy::parse("socks5://user:p%40ss@proxy.example").unwrap();
    assert_eq!(socks.user_and_password(), Some(("user", "p@ss")));
    assert_eq!(socks.secrets(), ["p%40ss", "p@ss"]);
    let token = Proxy::parse("http://t%2Fken@proxy.example").unwrap();
    assert_eq!(token.secrets(), ["dC9rZW46", "t%2Fken", "t/ken"]);
    let system = variables("", "", "http://user:p%40ss@proxy.example", "");
    let found = ProxyChoice::System
        .resolve(&BaseUrl::parse("http://b.example").unwrap(), || SystemProxies::from_variables(system));
    assert_eq!(found.unwrap().unwrap().secrets(), ["dXNlcjpwQHNz", "p@ss"]);
}

#[test]
fn proxy_secrets_show_in_no_debug_or_error() {
    let proxy = Proxy::parse("socks5://hush-user:hush@proxy.example").unwrap();
    let choice = ProxyChoice::Explicit(proxy.clone());
    let refused = Proxy::parse("http://user:hush@proxy.example/hush").unwrap_err();
    for shown in [format!("{proxy:?}"), format!("{choice:?}"), format!("{refused:?} {refused}")] {
        assert!(!shown.contains("hush"), "{shown}");
    }
}

#[test]
fn password_with_special_characters_reaches_reqwest() {
    let password: String = (' '..='~').collect();
    let url = format!("socks5h://user:{}@proxy.example", percent_encode(&password));
    let proxy = Proxy::parse(&url).unwrap();
    assert_eq!(proxy.user_and_password(), Some(("user", password.as_str())));
    // reqwest changes the address that it gets.
    let given = format!("{}:{}", percent_encode("user"), percent_encode(&password));
    let read = url::Url::parse(&format!("socks5h://{given}@proxy.example:1080")).unwrap();
    assert_eq!(parse_intercept(read.as_str()).unwrap().raw_auth(), Some(("user", password.as_str())));
    proxy.to_reqwest().unwrap();
}
