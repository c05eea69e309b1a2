//! Runs the sandbox beside a real API server.
mod sandbox {
    mod differential;
    mod life;

    /// Reads the real server's address and token from the environment; without them there is nothing to compare.
    #[tokio::test]
    async fn answers_as_the_real_server_does() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let sandbox = panamax_kubernetes_adapter::sandbox::Sandbox::start(listener).await.expect("a sandbox");
        let real = std::env::var("REAL_URL").unwrap_or_else(|_| sandbox.url());
        differential::compare(&sandbox.url(), &real, "admin-token").await;
        sandbox.shutdown().await;
    }
}
