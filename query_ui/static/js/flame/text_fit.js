// Cutting names to a width without asking the canvas for each: ASCII advances are measured once per font.

const ELLIPSIS = '…';

export class TextFit {
  #context;
  #advances = new Float32Array(128);
  #other = new Map();
  #ellipsis;

  /** @param {CanvasRenderingContext2D} context with its font already set */
  constructor(context) {
    this.#context = context;
    for (let code = 32; code < 127; code++) this.#advances[code] = context.measureText(String.fromCharCode(code)).width;
    this.#ellipsis = context.measureText(ELLIPSIS).width;
  }

  #advance(character) {
    const code = character.codePointAt(0);
    if (code < 128) return this.#advances[code];
    if (!this.#other.has(character)) this.#other.set(character, this.#context.measureText(character).width);
    return this.#other.get(character);
  }

  /** How wide a text is, in pixels. @param {string} text @returns {number} */
  width(text) {
    let used = 0;
    for (const character of text) used += this.#advance(character);
    return used;
  }

  /**
   * `text`, or as much of it as fits into `width` pixels with an ellipsis; "" when not even one letter fits.
   * @param {string} text
   * @param {number} width
   * @returns {string}
   */
  fit(text, width) {
    let used = 0;
    let keep = 0;
    let at = 0;
    for (const character of text) {
      used += this.#advance(character);
      if (used > width) return keep ? text.slice(0, keep) + ELLIPSIS : '';
      at += character.length;
      if (used + this.#ellipsis <= width) keep = at;
    }
    return text;
  }
}
