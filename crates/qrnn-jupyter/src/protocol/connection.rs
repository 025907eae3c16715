//! Reads the connection file and opens its sockets.

use std::path::Path;

use jupyter_protocol::ConnectionInfo;
use jupyter_zmq_client::{
    KernelControlConnection, KernelHeartbeatConnection, KernelIoPubXPubConnection,
    KernelShellConnection, KernelStdinConnection,
};

use crate::error::{Error, Result};

pub struct Sockets {
    pub shell: KernelShellConnection,
    pub control: KernelControlConnection,
    pub stdin: KernelStdinConnection,
    pub iopub: KernelIoPubXPubConnection,
    pub heartbeat: KernelHeartbeatConnection,
}

pub fn read(path: &Path) -> Result<ConnectionInfo> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path, "read"))?;
    let info: ConnectionInfo = serde_json::from_str(&text)
        .map_err(|error| Error::file(path, format!("is not a connection file: {error}")))?;
    if info.signature_scheme != "hmac-sha256" {
        let scheme = &info.signature_scheme;
        return Err(Error::file(path, format!("signature scheme {scheme:?} is not hmac-sha256")));
    }
    Ok(info)
}

pub async fn open(info: &ConnectionInfo, session: &str) -> Result<Sockets> {
    use jupyter_zmq_client as client;
    Ok(Sockets {
        shell: client::create_kernel_shell_connection(info, session).await?,
        control: client::create_kernel_control_connection(info, session).await?,
        stdin: client::create_kernel_stdin_connection(info, session).await?,
        iopub: client::create_kernel_iopub_xpub_connection(info, session).await?,
        heartbeat: client::create_kernel_heartbeat_connection(info).await?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_connection_file_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernel.json");
        let message = || read(&path).unwrap_err().to_string();
        assert!(message().contains("cannot read"));
        for text in ["", "[1]", "{}", "{\"ip\": \"127.0.0.1\"}"] {
            std::fs::write(&path, text).unwrap();
            assert!(message().contains("is not a connection file"), "{}", message());
        }
        let whole = r#"{"ip": "127.0.0.1", "transport": "tcp", "shell_port": 1, "iopub_port": 2,
            "stdin_port": 3, "control_port": 4, "hb_port": 5, "key": "k",
            "signature_scheme": "hmac-sha256", "kernel_name": "qrnn"}"#;
        std::fs::write(&path, whole.replace("sha256", "md5")).unwrap();
        assert!(message().contains("hmac-md5"));
        std::fs::write(&path, whole).unwrap();
        assert_eq!(read(&path).unwrap().shell_port, 1);
    }
}
