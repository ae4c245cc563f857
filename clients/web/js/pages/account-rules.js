// The rules for a new account that the page can check before the server does. Pure.

export const USERNAME_CHARS_MAX = 24;
export const PASSWORD_CHARS_MIN = 8;
export const PASSWORD_CHARS_MAX = 128;
export const EMAIL_CHARS_MAX = 254;

const USERNAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{2,23}$/;
const EMAIL = /^[^@\s<>"]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$/;

/**
 * @param {{ username: string, email: string, password: string }} values
 * @returns {Record<string, string>} field → key of the text that says what is wrong
 */
export function faults({ username, email, password }) {
  /** @type {Record<string, string>} */
  const found = {};
  if (!USERNAME.test(username)) found.username = "account.username_rule";
  if (email.length > EMAIL_CHARS_MAX || !EMAIL.test(email)) found.email = "account.email_rule";
  const chars = [...password].length;
  if (chars < PASSWORD_CHARS_MIN || chars > PASSWORD_CHARS_MAX) found.password = "account.password_rule";
  else if (username && password.toLowerCase() === username.toLowerCase()) {
    found.password = "account.password_is_name";
  }
  return found;
}

/** Which field the server's refusal is about, and what to say. @type {Record<string, [string, string]>} */
export const REFUSALS = {
  bad_username: ["username", "account.username_rule"],
  username_taken: ["username", "account.username_taken"],
  bad_email: ["email", "account.email_rule"],
  weak_password: ["password", "account.password_weak"],
};
