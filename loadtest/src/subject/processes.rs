//! The processes under test: memory and CPU of each node, in the order of the nodes.

use anyhow::{Result, ensure};

use super::proc;

/// One process per node, or none if they are not known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes(Vec<u32>);

impl Processes {
    /// The process of a single server.
    pub(super) fn single(pid: u32) -> Self {
        Self(vec![pid])
    }

    /// The processes of this number of nodes: one for each, or none.
    pub(super) fn of_nodes(pids: &[u32], nodes: usize) -> Result<Self> {
        ensure!(
            pids.is_empty() || pids.len() == nodes,
            "--server-pid: {} given for {nodes} nodes; name the process of each --url, in the same order, or none",
            pids.len()
        );
        Ok(Self(pids.to_vec()))
    }

    /// Proportional set size of each, in bytes; empty if they are not known.
    pub(crate) fn pss_bytes(&self) -> Result<Vec<u64>> {
        self.0.iter().map(|&pid| proc::pss_bytes(pid)).collect()
    }

    /// The part of it that is pages of files; empty if they are not known.
    pub(crate) fn pss_file_bytes(&self) -> Result<Vec<u64>> {
        let read = |&pid| proc::pss_file_bytes(pid);
        self.0.iter().map(read).collect()
    }

    /// CPU seconds of each so far; empty if they are not known.
    pub(crate) fn cpu_s(&self) -> Result<Vec<f64>> {
        self.0.iter().map(|&pid| proc::cpu_s(pid)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_a_process_or_none_has() {
        assert!(Processes::of_nodes(&[], 3).is_ok() && Processes::of_nodes(&[5, 6], 2).is_ok());
        let refused = Processes::of_nodes(&[5, 6], 3).unwrap_err().to_string();
        assert!(refused.contains("2 given for 3 nodes"), "{refused}");
    }

    #[test]
    fn the_processes_are_read_one_by_one() {
        let this = std::process::id();
        let both = Processes::of_nodes(&[this, this], 2).unwrap();
        let pss_bytes = both.pss_bytes().unwrap();
        assert!(pss_bytes.len() == 2 && pss_bytes.iter().all(|&bytes| bytes > 0));
        assert_eq!(both.cpu_s().unwrap().len(), 2);
    }
}
