export const peerVersion: string;
export const peerFolder: string;
export function installedPeer(): string | null;
