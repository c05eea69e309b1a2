//! The values that labels have.

/// Makes an enum whose values are words of a label.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $value:ident => $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $value,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$value,)+];

            /// The word in the label.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }
    };
}

words! {
    /// What is refused because there is too much of it.
    Limit {
        /// Connections at once.
        Connections => "connections",
        /// Files that the process may have open.
        Descriptors => "descriptors",
        /// Calls at once.
        Calls => "calls",
        /// Watches at once, of all callers.
        Watches => "watches",
        /// Watches at once, of one connection.
        WatchesOfConnection => "watches_of_connection",
        /// Calls and watches at once, of one connection: as many are open as may be.
        StreamsOfConnection => "streams_of_connection",
        /// TLS handshakes at once.
        Handshakes => "handshakes",
        /// Calls at once that change something, of one caller.
        CallsOfCaller => "calls_of_caller",
        /// Calls at once that only look, of one caller.
        ReadsOfCaller => "reads_of_caller",
        /// Watches at once, of one caller.
        WatchesOfCaller => "watches_of_caller",
        /// The size of a request.
        Request => "request",
        /// The size of a request's metadata.
        Metadata => "metadata",
        /// The memory of all requests that are coming.
        RequestMemory => "request_memory",
        /// The time in which a request must come.
        RequestTime => "request_time",
        /// The time in which a call must be answered, whatever its caller asks for.
        Deadline => "deadline",
        /// The replicas of a component.
        Replicas => "replicas",
        /// Anything else that a template has too much of.
        Template => "template",
        /// Calls to the API server at once: one had to wait for its turn.
        ApiCalls => "api_calls",
        /// The size of an answer of the API server.
        ApiAnswer => "api_answer",
    }
}

words! {
    /// Why a connection or a stream was ended.
    Cut {
        /// Its TLS handshake failed or took too long.
        Handshake => "handshake",
        /// It did not say what it is.
        Silent => "silent",
        /// It sent too many control frames.
        Flood => "flood",
        /// It had no call for a while.
        Idle => "idle",
        /// It was old.
        Age => "age",
        /// The certificate of its caller expired.
        Certificate => "certificate",
        /// Its streams went on when the adapter ended.
        Drain => "drain",
        /// Its reader took nothing: a stream, not a connection.
        SlowReader => "slow_reader",
        /// It asked reflection for too long: a stream, not a connection.
        Reflection => "reflection",
    }
}

words! {
    /// What an operation does.
    Operation {
        /// Deploys a template, or rolls back.
        Deploy => "deploy",
        /// Changes counts.
        Scale => "scale",
        /// Deletes everything.
        Teardown => "teardown",
    }
}

words! {
    /// How an operation ended.
    Outcome {
        /// It was done.
        Done => "done",
        /// It failed, or was left to the keeper.
        Failed => "failed",
    }
}

words! {
    /// What is asked of the API server.
    Verb {
        /// Read one object.
        Get => "get",
        /// Read many.
        List => "list",
        /// Follow many.
        Watch => "watch",
        /// Create one.
        Create => "create",
        /// Replace one.
        Update => "update",
        /// Change or apply one.
        Patch => "patch",
        /// Delete one.
        Delete => "delete",
        /// Anything else.
        Other => "other",
    }
}

/// Makes the labels of HTTP statuses.
macro_rules! statuses {
    ($($status:literal)+) => {
        /// The label of an HTTP status: itself if it has a meaning, and otherwise its class.
        pub fn http_code(code: Option<u16>) -> &'static str {
            match code {
                None => "none",
                $(Some($status) => stringify!($status),)+
                Some(other) => match other / 100 {
                    2 => "2xx",
                    3 => "3xx",
                    4 => "4xx",
                    5 => "5xx",
                    _ => "other",
                },
            }
        }
    };
}

statuses! {
    200 201 202 203 204 205 206 207 208 226
    300 301 302 303 304 305 307 308
    400 401 402 403 404 405 406 407 408 409 410 411 412 413 414 415 416 417 418 421 422 423 424 425 426 428 429 431 451
    500 501 502 503 504 505 506 507 508 510 511
}
