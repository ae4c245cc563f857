// Which browser this is, for the steps that differ between them. Features are never told from it.

export const BROWSERS = ["chrome", "edge", "firefox", "safari", "android", "iphone"];

/**
 * @param {string} agent `navigator.userAgent`
 * @param {number} [touchPoints] an iPad says it is a Mac, but a Mac has no touch screen
 * @returns {string} one of BROWSERS
 */
export function browserOf(agent, touchPoints = 0) {
  if (/iPhone|iPad|iPod/.test(agent)) return "iphone";
  if (/Macintosh/.test(agent) && touchPoints > 1) return "iphone";
  if (/Android/.test(agent) && !/Firefox/.test(agent)) return "android";
  if (/Firefox\//.test(agent)) return "firefox";
  if (/Edg(e|A)?\//.test(agent)) return "edge";
  if (/Chrome\/|Chromium\//.test(agent)) return "chrome";
  if (/Safari\//.test(agent)) return "safari";
  return "chrome";
}
