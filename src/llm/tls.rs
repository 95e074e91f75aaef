//! The one place that chooses who does the cryptography of TLS connections.

/// Makes *ring* the process's TLS cryptography. Call it before building an HTTP client; repeating it is harmless.
pub fn install_provider() {
    // The only error is that a provider is installed already, which is what we want.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
