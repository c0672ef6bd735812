/**
 * Bytes of tokens → text, holding back an incomplete character. The pieces and the end together equal the decoding of
 * all bytes at once (ill-formed bytes become U+FFFD by the WHATWG rule; a byte order mark is text).
 */
export class Utf8Stream {
  private readonly decoder = new TextDecoder("utf-8", { ignoreBOM: true });

  push(bytes: Uint8Array): string {
    return this.decoder.decode(bytes, { stream: true });
  }

  /** U+FFFD for a character that never became complete; the stream can be used again. */
  flush(): string {
    return this.decoder.decode();
  }
}
