//! Brigade's transport between coordinator and worker processes, over ipc-channel.
