import { ActionForm } from "./ActionForm";
import { changePassword } from "./api";

export function Password() {
  return (
    <ActionForm
      title="Change password"
      button="Change"
      done="Changed."
      action={(form) => changePassword(String(form.get("old")), String(form.get("new")))}
    >
      <label>
        Current password
        <input name="old" type="password" autoComplete="current-password" required />
      </label>
      <label>
        New password
        <input name="new" type="password" autoComplete="new-password" required />
      </label>
    </ActionForm>
  );
}
