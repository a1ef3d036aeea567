//! What a page may do: its Content-Security-Policy, and the other headers that keep it to itself.
//! Which pages may send commands to the API is in `http::middleware::origin`.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// A Content-Security-Policy. Each begins with nothing and allows what the page cannot do without.
///
/// None allows `eval` or scripts within the page, so that text which gets into one by mistake stays text. None allows
/// another host, and none lets itself be framed. `'self'` covers WebSockets too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy(&'static str);

impl Policy {
    /// The dashboard. It makes its elements one by one, so that it can do without the functions that read a text as
    /// HTML, and the browser refuses them to it.
    pub(super) const DASHBOARD: Self = Self(
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    );

    /// GraphiQL. Its editors draw each line as HTML with its place in a `style` attribute, and write the colours of
    /// their themes into `<style>` elements; no nonce or hash can foresee either, so styles within the page are
    /// allowed. What a style could do, which is to fetch from elsewhere, the other lines prevent.
    pub(super) const PLAYGROUND: Self = Self(
        "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; \
         img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );

    /// Swagger UI, whose styles have small pictures in them.
    pub(super) const DOCS: Self = Self(
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );

    /// A page with no script but that which signs in and out.
    pub(super) const PLAIN: Self = Self(
        "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    );

    /// What pages load. It matters to workers, who are held to their own and not to the page's.
    pub(super) const ASSET: Self = Self("default-src 'none'; frame-ancestors 'none'");

    /// Writes this policy and its companions.
    pub(super) fn write_headers(self, headers: &mut HeaderMap) {
        let headers_and_values: [(HeaderName, &'static str); 5] = [
            (header::CONTENT_SECURITY_POLICY, self.0),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "same-origin"),
            (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
            (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        ];
        for (name, value) in headers_and_values {
            headers.insert(name, HeaderValue::from_static(value));
        }
    }
}
